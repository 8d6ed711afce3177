/** Floor 4: every buffer of a run, placed before the first kernel. */
package dev.hone.plan;
