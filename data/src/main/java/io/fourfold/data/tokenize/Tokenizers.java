package io.fourfold.data.tokenize;

import io.fourfold.data.DataException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Opens tokenizers by the name used in the configuration. */
public final class Tokenizers {
    private Tokenizers() {}

    /**
     * Opens a tokenizer.
     *
     * @param name {@code bytes}, {@code tiktoken:r50k_base} (or {@code p50k_base}, {@code cl100k_base},
     *     {@code o200k_base}), or the path of a Hugging Face {@code tokenizer.json}
     * @param endOfDocument text of the token that ends a document; null = the tokenizer's own
     * @throws DataException if there is no such tokenizer or token
     */
    public static Tokenizer open(String name, @Nullable String endOfDocument) {
        return read(name, endOfDocument).open();
    }

    /** Reads what {@link TokenizerSource#open()} needs, without loading the tokenizer. */
    public static TokenizerSource read(String name, @Nullable String endOfDocument) {
        if (!TokenizerSource.isFile(name)) {
            return new TokenizerSource(name, endOfDocument, null);
        }
        Path file = Path.of(name);
        if (!Files.isRegularFile(file)) {
            throw new DataException(
                    "Tokenizer '" + name + "' does not exist (looked for the file "
                            + file.toAbsolutePath() + "). Give 'bytes', 'tiktoken:r50k_base', 'tiktoken:p50k_base',"
                            + " 'tiktoken:cl100k_base', 'tiktoken:o200k_base' or the path of a Hugging Face tokenizer.json in data.tokenizer.");
        }
        try {
            return new TokenizerSource(name, endOfDocument, Files.readAllBytes(file));
        } catch (IOException e) {
            throw new DataException("Cannot read tokenizer file " + file.toAbsolutePath() + ": " + e.getMessage(), e);
        }
    }
}
