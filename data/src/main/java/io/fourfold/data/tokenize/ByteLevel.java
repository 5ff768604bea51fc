package io.fourfold.data.tokenize;

import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;

/**
 * GPT-2's way of turning text into words of printable characters: a regular expression cuts the text, then each UTF-8 byte
 * of a word becomes one character (Radford et al. 2019; the same as Hugging Face's ByteLevel pre-tokenizer).
 */
final class ByteLevel {
    /** Contractions, letters, digits, other signs (each with one space before it), and runs of white space. */
    static final Pattern WORDS = Pattern.compile(
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            Pattern.UNICODE_CHARACTER_CLASS);

    private static final int BYTES = 256;
    private static final char[] ALPHABET = alphabet();

    private ByteLevel() {}

    /** Printable Latin-1 characters stand for themselves, the other 68 bytes for the characters from U+0100 on. */
    private static char[] alphabet() {
        char[] characters = new char[BYTES];
        char next = BYTES;
        for (int b = 0; b < BYTES; b++) {
            boolean printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE);
            characters[b] = printable ? (char) b : next++;
        }
        return characters;
    }

    /** The character of {@code value}, 0 to 255. */
    static char character(int value) {
        return ALPHABET[value];
    }

    /** The bytes of a word, as ids 0 to 255. */
    static int[] bytes(String word) {
        byte[] utf8 = word.getBytes(StandardCharsets.UTF_8);
        int[] values = new int[utf8.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = Byte.toUnsignedInt(utf8[i]);
        }
        return values;
    }
}
