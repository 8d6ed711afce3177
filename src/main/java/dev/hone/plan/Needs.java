package dev.hone.plan;

/**
 * What a device's ops want beside their arguments, and how large the base's pieces are.
 *
 * @param crossEntropyBytes scratch of the chunked loss
 * @param workspaceBytes scratch of all other ops
 * @param blobs the base's pieces; null with weights outside the arena
 */
public record Needs(long crossEntropyBytes, long workspaceBytes, BlobBytes blobs) {}
