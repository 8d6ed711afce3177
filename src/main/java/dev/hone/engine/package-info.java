/** Floor 5: weights, one block forward and backward, the whole model. */
package dev.hone.engine;
