package io.fourfold.data.shard;

/**
 * One shard file as the manifest knows it.
 *
 * @param file name within the split's folder
 * @param bytes size of the file
 * @param sha256 of the whole file, hexadecimal
 * @param crc32c of the whole file, hexadecimal; cheap enough to check whenever a shard is opened
 */
public record ShardInfo(String file, long documents, long tokens, long bytes, String sha256, String crc32c) {}
