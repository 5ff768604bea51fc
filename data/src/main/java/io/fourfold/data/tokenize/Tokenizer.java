package io.fourfold.data.tokenize;

import java.util.List;

/** Text to ids and back. Thread-safe. */
public interface Tokenizer extends AutoCloseable {
    /** How it was named in the configuration, for example {@code tiktoken:r50k_base}. */
    String description();

    /** SHA-256 (hex) of everything that decides its ids; stored in manifests and checkpoints. */
    String fingerprint();

    /** Ids are in {@code [0, vocabSize)}. */
    int vocabSize();

    /** Id that ends every document. */
    int endOfDocument();

    /** Ids of each text, special tokens in the text taken as plain text, nothing added. */
    List<int[]> encode(List<String> texts);

    default int[] encode(String text) {
        return encode(List.of(text)).get(0);
    }

    String decode(int[] ids);

    @Override
    void close();
}
