package io.fourfold.eval;

/**
 * A continuation.
 *
 * @param tokens the new ids, without the prompt and without the end-of-document token
 * @param end why it stopped
 */
public record Generation(int[] tokens, End end) {
    /** Why a continuation stopped. */
    public enum End {
        /** The model ended the document. */
        END_OF_DOCUMENT,
        /** As many tokens as asked for. */
        LENGTH
    }
}
