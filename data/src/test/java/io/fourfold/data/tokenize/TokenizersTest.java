package io.fourfold.data.tokenize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.DataException;
import io.fourfold.data.SharedFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TokenizersTest {
    private static final List<String> TEXTS = List.of(
            "Hello, world! It's  1815\n\n\tand \u00e9t\u00e9 \u2014 \u4f60\u597d \uD83D\uDE80.",
            "",
            " leading and trailing ",
            "control <|endoftext|> text");

    @TempDir
    Path folder;

    @Test
    void bytesRoundTripAndEndDocumentsWith256() {
        try (Tokenizer tokenizer = Tokenizers.open("bytes", null)) {
            assertThat(tokenizer.vocabSize()).isEqualTo(257);
            assertThat(tokenizer.endOfDocument()).isEqualTo(256);
            assertRoundTrip(tokenizer);
            assertThat(tokenizer.decode(new int[] {72, 105, 256})).isEqualTo("Hi<|endoftext|>");
            assertThat(tokenizer.encode("\u00e9")).containsExactly(0xC3, 0xA9);
        }
    }

    @Test
    void tiktokenVocabulariesHaveKnownIds() {
        try (Tokenizer r50k = Tokenizers.open("tiktoken:r50k_base", null);
                Tokenizer cl100k = Tokenizers.open("tiktoken:cl100k_base", null)) {
            assertThat(r50k.encode("Hello world")).containsExactly(15496, 995);
            assertThat(cl100k.encode("hello world")).containsExactly(15339, 1917);
            assertThat(r50k.vocabSize()).isEqualTo(50257);
            assertThat(r50k.decode(new int[] {r50k.endOfDocument()})).isEqualTo("<|endoftext|>");
            assertThat(cl100k.decode(new int[] {cl100k.endOfDocument()})).isEqualTo("<|endoftext|>");
            assertThat(r50k.fingerprint()).isNotEqualTo(cl100k.fingerprint()).hasSize(64);
            assertRoundTrip(r50k);
            assertRoundTrip(cl100k);
        }
    }

    @Test
    void everyTiktokenVocabularyOpensAndCoversItsEnd() {
        for (String name : List.of("tiktoken:p50k_base", "tiktoken:o200k_base")) {
            try (Tokenizer tokenizer = Tokenizers.open(name, null)) {
                assertThat(tokenizer.endOfDocument()).isLessThan(tokenizer.vocabSize());
                assertThat(tokenizer.decode(new int[] {tokenizer.endOfDocument()}))
                        .isEqualTo("<|endoftext|>");
                assertRoundTrip(tokenizer);
            }
        }
    }

    @Test
    void huggingFaceGpt2EqualsTiktokenR50k() throws Exception {
        Path file = tokenizerJson("gpt2");
        try (Tokenizer hf = Tokenizers.open(file.toString(), null);
                Tokenizer r50k = Tokenizers.open("tiktoken:r50k_base", null)) {
            assertThat(hf.vocabSize()).isEqualTo(50257);
            assertThat(hf.endOfDocument()).isEqualTo(50256);
            assertThat(hf.encode(TEXTS)).containsExactlyElementsOf(r50k.encode(TEXTS));
            assertThat(hf.decode(new int[] {15496, 50256, 995})).isEqualTo("Hello<|endoftext|> world");
            assertRoundTrip(hf);
        }
    }

    @Test
    void huggingFaceQwenKeepsAddedIdsAndTakesControlTokensAsText() throws Exception {
        Path file = tokenizerJson("qwen3");
        try (Tokenizer qwen = Tokenizers.open(file.toString(), null)) {
            assertThat(qwen.endOfDocument()).isEqualTo(151643);
            assertThat(qwen.encode("<tool_call>")).containsExactly(151657);
            assertThat(qwen.encode("<|im_start|>")).doesNotContain(151644).hasSizeGreaterThan(1);
            assertThat(qwen.decode(new int[] {151644, qwen.encode("user")[0]})).isEqualTo("<|im_start|>user");
            assertRoundTrip(qwen);
        }
        try (Tokenizer ended = Tokenizers.open(file.toString(), "<|im_end|>")) {
            assertThat(ended.endOfDocument()).isEqualTo(151645);
        }
    }

    @Test
    void cuttingALongTextDoesNotChangeItsIds() throws Exception {
        java.util.Random random = new java.util.Random(8);
        List<String> words = List.of(
                "word",
                "It's",
                "\u00e9t\u00e9",
                "\u4f60\u597d",
                "1815",
                ".",
                "!\n",
                "\n",
                "\n\n",
                "\n  ",
                "  ",
                " ",
                "\t\n",
                "x\n",
                "</think>\n");
        StringBuilder text = new StringBuilder();
        while (text.length() < 4000) {
            text.append(words.get(random.nextInt(words.size()))).append(random.nextBoolean() ? " " : "");
        }
        List<String> pieces = SafeCuts.cut(text.toString(), 10);
        assertThat(pieces).hasSizeGreaterThan(30);
        assertThat(String.join("", pieces)).isEqualTo(text.toString());
        for (String name : List.of("gpt2", "qwen3")) {
            try (Tokenizer tokenizer = Tokenizers.open(tokenizerJson(name).toString(), null)) {
                int[] joined = tokenizer.encode(pieces).stream()
                        .flatMapToInt(java.util.Arrays::stream)
                        .toArray();
                assertThat(joined).isEqualTo(tokenizer.encode(text.toString()));
            }
        }
    }

    @Test
    void aLongTextBetweenShortOnesKeepsItsPlace() throws Exception {
        String line = "It is a truth universally acknowledged, that a single man in possession of a good fortune\n";
        String longText = line.repeat(8000);
        try (Tokenizer tokenizer = Tokenizers.open(
                SharedFiles.repository("data/sample/tokenizer.json").toString(), null)) {
            List<int[]> ids = tokenizer.encode(List.of("a", longText, "b"));
            assertThat(tokenizer.decode(ids.get(0)) + tokenizer.decode(ids.get(2)))
                    .isEqualTo("ab");
            assertThat(tokenizer.decode(ids.get(1))).isEqualTo(longText);
            assertThat(ids.get(1)).hasSize(8000 * tokenizer.encode(line).length);
        }
    }

    @Test
    void unusableTokenizersSayWhatToDo() throws Exception {
        assertThatThrownBy(() -> Tokenizers.open("no/such/tokenizer.json", null))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("no/such/tokenizer.json")
                .hasMessageContaining("'tiktoken:p50k_base'")
                .hasMessageContaining("data.tokenizer");
        assertThatThrownBy(() -> Tokenizers.open("tiktoken:nope", null)).hasMessageContaining("tiktoken:r50k_base");
        assertThatThrownBy(() -> Tokenizers.open("bytes", "</s>")).hasMessageContaining("data.end_of_document");
        Path broken = Files.writeString(folder.resolve("tokenizer.json"), "{\"model\": ");
        assertThatThrownBy(() -> Tokenizers.open(broken.toString(), null)).hasMessageContaining("not valid JSON");
        Path other = Files.writeString(folder.resolve("other.json"), "{\"a\": 1}");
        assertThatThrownBy(() -> Tokenizers.open(other.toString(), null)).hasMessageContaining("'model'");
    }

    private Path tokenizerJson(String name) throws Exception {
        byte[] json = SharedFiles.unzstd(SharedFiles.require("tokenizers/" + name + "-tokenizer.json.zst"));
        return Files.write(folder.resolve(name + ".json"), json);
    }

    private static void assertRoundTrip(Tokenizer tokenizer) {
        List<int[]> encoded = tokenizer.encode(TEXTS);
        assertThat(encoded).hasSize(TEXTS.size());
        for (int i = 0; i < TEXTS.size(); i++) {
            assertThat(encoded.get(i)).doesNotContain(tokenizer.endOfDocument());
            assertThat(tokenizer.decode(encoded.get(i))).isEqualTo(TEXTS.get(i));
        }
    }
}
