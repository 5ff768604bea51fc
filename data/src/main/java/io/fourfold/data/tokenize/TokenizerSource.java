package io.fourfold.data.tokenize;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fourfold.data.DataException;
import java.io.IOException;
import java.io.Serializable;
import org.jspecify.annotations.Nullable;

/**
 * Everything needed to open a tokenizer anywhere: small names for the built-in ones, the bytes of {@code tokenizer.json}
 * for Hugging Face ones. It can be sent to other machines, which then need no file.
 *
 * @param name as in the configuration: {@code bytes}, {@code tiktoken:<encoding>} or a path
 * @param endOfDocument text of the end-of-document token; null = the tokenizer's own
 * @param content bytes of {@code tokenizer.json}; null for built-in tokenizers
 */
public record TokenizerSource(String name, @Nullable String endOfDocument, byte @Nullable [] content)
        implements Serializable {
    /** Prefix of vocabularies that are built in under their tiktoken names. */
    static final String TIKTOKEN = "tiktoken:";

    /** True when {@code name} is a path whose bytes must be read first. */
    public static boolean isFile(String name) {
        return !name.equals(ByteTokenizer.NAME) && !name.startsWith(TIKTOKEN);
    }

    /**
     * Opens the tokenizer.
     *
     * @throws DataException if the name or the file's content is not usable
     */
    public Tokenizer open() {
        if (name.equals(ByteTokenizer.NAME)) {
            return new ByteTokenizer(endOfDocument);
        }
        if (name.startsWith(TIKTOKEN)) {
            return new TiktokenTokenizer(name, endOfDocument);
        }
        if (content == null) {
            throw new DataException("Tokenizer " + name + " was not read: open it through Tokenizers.open");
        }
        return new HfTokenizer(name, endOfDocument, parse(content), content);
    }

    private JsonNode parse(byte[] bytes) {
        try {
            return new ObjectMapper().readTree(bytes);
        } catch (IOException e) {
            throw new DataException("Tokenizer file " + name + " is not valid JSON: " + e.getMessage(), e);
        }
    }
}
