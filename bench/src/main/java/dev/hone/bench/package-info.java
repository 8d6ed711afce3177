/** JMH benches of the ops, the training step and decoding, and the CSV rows made of their results. */
package dev.hone.bench;
