package io.fourfold.hf;

import org.jspecify.annotations.Nullable;

/**
 * How a model is exported.
 *
 * @param type element type of the weights: BF16 or F32
 * @param maxShardBytes largest data size of one file; a single larger tensor still gets a file of its own
 * @param tokenizer the tokenizer's files
 * @param endOfText id that ends a text, written to config.json and generation_config.json; null = unknown
 */
public record ExportOptions(
        SafetensorsType type,
        long maxShardBytes,
        TokenizerFiles tokenizer,
        @Nullable Integer endOfText) {
    /** As the hub does: 5 GB a file. */
    public static final long DEFAULT_SHARD_BYTES = 5_000_000_000L;

    public ExportOptions {
        if (type == SafetensorsType.F16) {
            throw new IllegalArgumentException("F16 cannot hold every weight: export as BF16 or F32");
        }
        if (maxShardBytes < 1) {
            throw new IllegalArgumentException("maxShardBytes is " + maxShardBytes + ", needed is at least 1");
        }
    }

    public static ExportOptions of(SafetensorsType type) {
        return new ExportOptions(type, DEFAULT_SHARD_BYTES, TokenizerFiles.none("none were given"), null);
    }

    public ExportOptions withMaxShardBytes(long bytes) {
        return new ExportOptions(type, bytes, tokenizer, endOfText);
    }

    public ExportOptions withTokenizer(TokenizerFiles files, @Nullable Integer endOfText) {
        return new ExportOptions(type, maxShardBytes, files, endOfText);
    }
}
