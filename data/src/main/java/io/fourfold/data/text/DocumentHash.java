package io.fourfold.data.text;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** SHA-256 of normalised text: decides what is a duplicate, and which split a document belongs to. */
public final class DocumentHash {
    /** Bytes of a hash. */
    public static final int BYTES = 32;

    private DocumentHash() {}

    /** SHA-256 of {@code utf8}. */
    public static byte[] of(byte[] utf8) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(utf8);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("Every Java platform has SHA-256", e);
        }
    }

    /**
     * Whether a document is for validation: its hash, read as a fraction of the whole range, is below {@code fraction}.
     * So the split does not depend on order, partitioning or other documents, and a larger fraction only adds documents.
     */
    public static boolean isValidation(byte[] hash, double fraction) {
        double position = (ByteBuffer.wrap(hash).getLong() >>> 11) * 0x1.0p-53;
        return position < fraction;
    }
}
