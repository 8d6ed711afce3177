package dev.hone.data;

import dev.hone.text.Conversation;

/** A row of a dataset, read and checked but not yet tokens. */
sealed interface Row {
  record Chat(Conversation conversation) implements Row {}

  record Plain(String text) implements Row {}

  record Tokens(Example example) implements Row {}
}
