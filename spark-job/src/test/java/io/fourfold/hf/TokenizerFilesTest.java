package io.fourfold.hf;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class TokenizerFilesTest {
    @TempDir
    Path folder;

    /** The written tokenizer.json, run by the Hugging Face library, gives the ids of the byte tokenizer. */
    @Test
    void byteTokenizerInHuggingFaceForm() throws IOException {
        TokenizerFiles.bytes().write(folder, 256, new ArrayList<>());
        StringBuilder every = new StringBuilder("Hello,  world!\n\t\r '' a\u00e9\u4e16\ud83d\ude00");
        for (char c = 0; c < 0x800; c++) {
            every.append(c);
        }
        String text = every.toString();
        try (Tokenizer written =
                        Tokenizers.open(folder.resolve("tokenizer.json").toString(), null);
                Tokenizer bytes = Tokenizers.open("bytes", null)) {
            assertThat(written.vocabSize()).isEqualTo(bytes.vocabSize());
            assertThat(written.endOfDocument()).isEqualTo(bytes.endOfDocument());
            assertThat(written.encode(text)).containsExactly(bytes.encode(text));
            assertThat(written.decode(written.encode(text))).isEqualTo(text);
            byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
            assertThat(written.encode(text)).hasSize(utf8.length);
        }
        assertThat(Files.readString(folder.resolve("tokenizer_config.json")))
                .contains("\"eos_token\" : \"<|endoftext|>\"");
    }

    @Test
    void absenceIsExplained() throws IOException {
        List<String> notes = new ArrayList<>();
        TokenizerFiles.none("this run uses tiktoken:r50k_base").write(folder, 1, notes);
        assertThat(notes).containsExactly("no tokenizer files: this run uses tiktoken:r50k_base");
        assertThat(folder).isEmptyDirectory();
    }
}
