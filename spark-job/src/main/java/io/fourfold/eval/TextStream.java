package io.fourfold.eval;

import io.fourfold.data.tokenize.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.IntConsumer;

/**
 * Turns ids that come one by one into pieces of text. A character may take several tokens, so text that ends in a
 * replacement character is held back until it is complete.
 */
public final class TextStream implements IntConsumer {
    private static final char REPLACEMENT = '\uFFFD';

    private final Tokenizer tokenizer;
    private final Consumer<String> output;
    private final List<Integer> tokens = new ArrayList<>();
    private int shown;

    public TextStream(Tokenizer tokenizer, Consumer<String> output) {
        this.tokenizer = tokenizer;
        this.output = output;
    }

    @Override
    public void accept(int token) {
        tokens.add(token);
        String text = text();
        int end = text.length();
        while (end > shown && text.charAt(end - 1) == REPLACEMENT) {
            end--;
        }
        emit(text, end);
    }

    /** Shows what was held back: bytes that never became a character. */
    public void finish() {
        String text = text();
        emit(text, text.length());
    }

    private String text() {
        return tokenizer.decode(tokens.stream().mapToInt(Integer::intValue).toArray());
    }

    private void emit(String text, int end) {
        if (end > shown) {
            output.accept(text.substring(shown, end));
            shown = end;
        }
    }
}
