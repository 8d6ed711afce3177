/** Floor 3: architectures as data. */
package dev.hone.model;
