/** Floor 3: datasets, masks, packing and batches. */
package dev.hone.data;
