package io.fourfold.hf;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The tokenizer files of a Hugging Face folder. */
public final class TokenizerFiles {
    private static final List<String> NAMES = List.of(
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "tokenizer.model",
            "vocab.json",
            "merges.txt",
            "chat_template.jinja",
            "chat_template.json");
    private static final ObjectMapper JSON = new ObjectMapper();

    private final @Nullable Path source;
    private final @Nullable String json;
    private final String note;

    private TokenizerFiles(@Nullable Path source, @Nullable String json, String note) {
        this.source = source;
        this.json = json;
        this.note = note;
    }

    /** No files; the report says why. */
    public static TokenizerFiles none(String why) {
        return new TokenizerFiles(null, null, "no tokenizer files: " + why);
    }

    /** Copies a tokenizer.json, or the tokenizer files of a folder. */
    public static TokenizerFiles copyOf(Path source) {
        return new TokenizerFiles(source, null, "");
    }

    /** Writes Fourfold's byte tokenizer (ids 0..255 are bytes, 256 ends a document) as a tokenizer.json. */
    public static TokenizerFiles bytes() {
        return new TokenizerFiles(null, ByteTokenizerJson.text(), "");
    }

    /**
     * Writes the files.
     *
     * @param endOfText id that ends a text, named in tokenizer_config.json when that file is made here
     * @param notes receives what the user should know
     */
    void write(Path folder, @Nullable Integer endOfText, List<String> notes) throws IOException {
        Path target = folder.resolve("tokenizer.json");
        if (json != null) {
            Files.writeString(target, json);
        } else if (source == null) {
            notes.add(note);
        } else if (Files.isRegularFile(source)) {
            Files.copy(source, target, StandardCopyOption.REPLACE_EXISTING);
        } else {
            copyFolder(source, folder);
        }
        Path config = folder.resolve("tokenizer_config.json");
        if (Files.exists(target) && !Files.exists(config)) {
            Files.writeString(config, config(target, endOfText).toPrettyString() + "\n");
        }
    }

    private static void copyFolder(Path source, Path folder) throws IOException {
        int copied = 0;
        for (String name : NAMES) {
            if (Files.isRegularFile(source.resolve(name))) {
                Files.copy(source.resolve(name), folder.resolve(name), StandardCopyOption.REPLACE_EXISTING);
                copied++;
            }
        }
        if (copied == 0) {
            throw new HfException(source + " holds no tokenizer files (tokenizer.json, tokenizer.model, ...): give the"
                    + " tokenizer.json or the folder it lies in");
        }
    }

    private static ObjectNode config(Path tokenizer, @Nullable Integer endOfText) throws IOException {
        ObjectNode config = JSON.createObjectNode();
        config.put("tokenizer_class", "PreTrainedTokenizerFast");
        config.put("clean_up_tokenization_spaces", false);
        if (endOfText != null) {
            for (JsonNode token : JSON.readTree(Files.readAllBytes(tokenizer)).path("added_tokens")) {
                if (token.path("id").asInt(-1) == endOfText) {
                    config.put("eos_token", token.path("content").asText());
                }
            }
        }
        return config;
    }
}
