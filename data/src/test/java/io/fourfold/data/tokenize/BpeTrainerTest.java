package io.fourfold.data.tokenize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.data.DataException;
import io.fourfold.data.SharedFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BpeTrainerTest {
    private static final List<String> TEXTS = List.of(
            "low low low low low lower lower newest newest newest newest newest newest widest widest widest",
            "It's the lowest of the newest, isn't it? 1815 1816 1815\n\n\u00e9t\u00e9 \u00e9t\u00e9");

    @TempDir
    Path folder;

    @Test
    void mergesTheMostFrequentPairFirst() {
        BpeVocabulary vocabulary = train(TEXTS, 262);
        // "e s" occurs in newest (6 + 1), widest (3) and lowest (1): 11 times, as does "s t" behind it.
        assertThat(vocabulary.merges().get(0)).isEqualTo(new BpeVocabulary.Merge("e", "s"));
        assertThat(vocabulary.merges().get(1)).isEqualTo(new BpeVocabulary.Merge("es", "t"));
        assertThat(vocabulary.tokens()).hasSize(262).doesNotHaveDuplicates();
    }

    @Test
    void theOrderOfTheTextsDoesNotMatter() {
        List<String> reversed = new java.util.ArrayList<>(TEXTS);
        Collections.reverse(reversed);
        assertThat(train(TEXTS, 280)).isEqualTo(train(reversed, 280));
    }

    @Test
    void aTrainedTokenizerLoadsAndRoundTrips() throws Exception {
        BpeVocabulary vocabulary = train(TEXTS, 280);
        Path file = Files.writeString(folder.resolve("t.json"), vocabulary.toTokenizerJson("<|endoftext|>"));
        try (Tokenizer tokenizer = Tokenizers.open(file.toString(), null)) {
            assertThat(tokenizer.vocabSize()).isEqualTo(281);
            assertThat(tokenizer.endOfDocument()).isEqualTo(280);
            String text = "the newest \u4f60\u597d \uD83D\uDE80\r\n\ttabs   and spaces <|endoftext|>";
            int[] ids = tokenizer.encode(text);
            assertThat(tokenizer.decode(ids)).isEqualTo(text);
            assertThat(ids).hasSizeLessThan(text.getBytes(java.nio.charset.StandardCharsets.UTF_8).length);
            assertThat(Arrays.stream(ids).max().orElseThrow()).isLessThan(280);
            assertThat(tokenizer.encode("est")).containsExactly(257);
        }
    }

    @Test
    void tooLittleTextIsSaid() {
        assertThatThrownBy(() -> train(List.of("abc"), 300))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("256 tokens only");
    }

    @Test
    void theShippedTokenizerIsWhatTheTrainerMakesOfTheSample() throws Exception {
        Path shipped = SharedFiles.repository("data/sample/tokenizer.json");
        Path sample = SharedFiles.repository("data/sample/sample-austen.jsonl.zst");
        assertThat(TrainTokenizer.train(List.of(sample), 4096)).isEqualTo(Files.readString(shipped));
        assertThat(Files.size(shipped)).isLessThan(400_000);
        try (Tokenizer tokenizer = Tokenizers.open(shipped.toString(), null)) {
            assertThat(tokenizer.vocabSize()).isEqualTo(4096);
            assertThat(tokenizer.endOfDocument()).isEqualTo(4095);
            String text = "It is a truth universally acknowledged, that a single man in possession of a good fortune";
            assertThat(tokenizer.encode(text)).hasSizeLessThan(24);
            assertThat(tokenizer.decode(tokenizer.encode(text))).isEqualTo(text);
        }
    }

    private static BpeVocabulary train(List<String> texts, int tokens) {
        BpeTrainer trainer = new BpeTrainer();
        texts.forEach(trainer::add);
        return trainer.train(tokens);
    }
}
