package io.fourfold.data.text;

import java.text.Normalizer;

/**
 * The one form in which text is hashed and tokenized: CR LF and CR become LF, NUL characters and a leading byte order mark
 * go away, and the rest is put into Unicode normalization form C (with the Unicode tables of the running JVM).
 */
public final class TextNormalizer {
    private static final char BYTE_ORDER_MARK = '\uFEFF';

    private TextNormalizer() {}

    /** The normal form; applying it twice changes nothing. */
    public static String normalize(String text) {
        String clean = text;
        if (clean.indexOf('\r') >= 0) {
            clean = clean.replace("\r\n", "\n").replace('\r', '\n');
        }
        if (clean.indexOf('\0') >= 0) {
            clean = clean.replace("\0", "");
        }
        int start = 0;
        while (start < clean.length() && clean.charAt(start) == BYTE_ORDER_MARK) {
            start++;
        }
        clean = clean.substring(start);
        return Normalizer.isNormalized(clean, Normalizer.Form.NFC)
                ? clean
                : Normalizer.normalize(clean, Normalizer.Form.NFC);
    }
}
