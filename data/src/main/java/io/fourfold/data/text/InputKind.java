package io.fourfold.data.text;

import java.io.Serializable;
import java.util.Locale;
import java.util.Optional;

/** What a raw file holds, told by its name. */
public record InputKind(Format format, Compression compression) implements Serializable {
    /** Ways of holding documents. */
    public enum Format {
        /** One JSON object a line: .jsonl, .ndjson. */
        JSONL,
        /** A table with a text column: .parquet. */
        PARQUET,
        /** One document a file: .txt. */
        TEXT
    }

    /** Stream compression of the whole file. */
    public enum Compression {
        NONE,
        GZIP,
        ZSTD
    }

    /** Names that are understood, for messages. */
    public static final String SUPPORTED = "*.jsonl, *.ndjson, *.txt (each also .gz or .zst) and *.parquet";

    /** The kind of the file called {@code name}; empty when the name says nothing known. */
    public static Optional<InputKind> of(String name) {
        String rest = name.toLowerCase(Locale.ROOT);
        Compression compression = Compression.NONE;
        if (rest.endsWith(".gz")) {
            compression = Compression.GZIP;
        } else if (rest.endsWith(".zst")) {
            compression = Compression.ZSTD;
        }
        if (compression != Compression.NONE) {
            rest = rest.substring(0, rest.lastIndexOf('.'));
        }
        if (rest.endsWith(".jsonl") || rest.endsWith(".ndjson")) {
            return Optional.of(new InputKind(Format.JSONL, compression));
        }
        if (rest.endsWith(".txt")) {
            return Optional.of(new InputKind(Format.TEXT, compression));
        }
        if (rest.endsWith(".parquet") && compression == Compression.NONE) {
            return Optional.of(new InputKind(Format.PARQUET, compression));
        }
        return Optional.empty();
    }

    /** True when reading may begin anywhere in the file. */
    public boolean splittable() {
        return format == Format.JSONL && compression == Compression.NONE;
    }
}
