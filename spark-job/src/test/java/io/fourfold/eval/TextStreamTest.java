package io.fourfold.eval;

import static org.assertj.core.api.Assertions.assertThat;

import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.Tokenizers;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

final class TextStreamTest {
    @Test
    void characterOfSeveralTokensComesWhole() {
        try (Tokenizer tokenizer = Tokenizers.open("bytes", null)) {
            List<String> pieces = new ArrayList<>();
            TextStream stream = new TextStream(tokenizer, pieces::add);
            for (int token : tokenizer.encode("a\u00e9\ud83d\ude00b")) {
                stream.accept(token);
            }
            stream.finish();
            assertThat(pieces).containsExactly("a", "\u00e9", "\ud83d\ude00", "b");
        }
    }

    @Test
    void bytesThatAreNoTextAreShownAtTheEnd() {
        try (Tokenizer tokenizer = Tokenizers.open("bytes", null)) {
            List<String> pieces = new ArrayList<>();
            TextStream stream = new TextStream(tokenizer, pieces::add);
            stream.accept('x');
            stream.accept(0xff);
            assertThat(pieces).containsExactly("x");
            stream.finish();
            assertThat(pieces).containsExactly("x", "\uFFFD");
        }
    }
}
