/** Floor 6: decoding with a key-value cache. */
package dev.hone.generate;
