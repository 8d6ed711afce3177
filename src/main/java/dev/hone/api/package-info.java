/** Floor 7: Hone as a library inside another JVM program. */
package dev.hone.api;
