/** Floor 6: the loop, the optimiser, the schedule, checkpoints and reports. */
package dev.hone.train;
