/** Floor 0: typed settings, each with the file and line it came from, and the error type for users' mistakes. */
package dev.hone.config;
