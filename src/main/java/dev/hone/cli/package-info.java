/** Floor 7: the command line. */
package dev.hone.cli;
