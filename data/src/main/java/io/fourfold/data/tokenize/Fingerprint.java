package io.fourfold.data.tokenize;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** SHA-256 over length-prefixed parts, so that no two lists of parts share their bytes. */
final class Fingerprint {
    private final MessageDigest digest;

    Fingerprint(String kind) {
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("Every Java platform has SHA-256", e);
        }
        add(kind.getBytes(StandardCharsets.UTF_8));
    }

    Fingerprint add(byte[] part) {
        digest.update(ByteBuffer.allocate(4).putInt(0, part.length));
        digest.update(part);
        return this;
    }

    Fingerprint add(int value) {
        return add(ByteBuffer.allocate(4).putInt(0, value).array());
    }

    /** Lower-case hexadecimal digits. */
    String hex() {
        return HexFormat.of().formatHex(digest.digest());
    }
}
