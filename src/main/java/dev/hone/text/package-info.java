/** Floor 2: tokenizers and chat templates. */
package dev.hone.text;
