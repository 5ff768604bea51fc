package io.fourfold.hf;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The tokenizer files of a Hugging Face folder. */
final class TokenizerFiles {
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
    private static final String MINIMAL_CONFIG = "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n";

    private TokenizerFiles() {}

    /**
     * Copies the files.
     *
     * @param tokenizer a tokenizer.json or a folder; null = none
     */
    static void copy(@Nullable Path tokenizer, Path folder, List<String> notes) throws IOException {
        if (tokenizer == null) {
            notes.add(
                    "no tokenizer files: the tokenizer of this run has none of the Hugging Face form, so texts must be"
                            + " encoded with 'fourfold'");
            return;
        }
        if (Files.isRegularFile(tokenizer)) {
            Files.copy(tokenizer, folder.resolve("tokenizer.json"), StandardCopyOption.REPLACE_EXISTING);
        } else {
            int copied = 0;
            for (String name : NAMES) {
                if (Files.isRegularFile(tokenizer.resolve(name))) {
                    Files.copy(tokenizer.resolve(name), folder.resolve(name), StandardCopyOption.REPLACE_EXISTING);
                    copied++;
                }
            }
            if (copied == 0) {
                throw new HfException(
                        tokenizer + " holds no tokenizer files (tokenizer.json, tokenizer.model, ...): give"
                                + " the tokenizer.json or the folder it lies in");
            }
        }
        if (Files.exists(folder.resolve("tokenizer.json")) && !Files.exists(folder.resolve("tokenizer_config.json"))) {
            Files.writeString(folder.resolve("tokenizer_config.json"), MINIMAL_CONFIG);
        }
    }
}
