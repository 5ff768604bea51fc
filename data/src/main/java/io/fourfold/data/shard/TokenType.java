package io.fourfold.data.shard;

import com.fasterxml.jackson.annotation.JsonValue;
import java.util.Locale;

/** How a token is stored in a shard, little-endian. */
public enum TokenType {
    UINT16(2),
    INT32(4);

    private final int bytes;

    TokenType(int bytes) {
        this.bytes = bytes;
    }

    /** The smallest type that holds ids in {@code [0, vocabSize)}. */
    public static TokenType of(int vocabSize) {
        return vocabSize <= 1 << 16 ? UINT16 : INT32;
    }

    /** Bytes of one token. */
    public int bytes() {
        return bytes;
    }

    @JsonValue
    String jsonName() {
        return name().toLowerCase(Locale.ROOT);
    }
}
