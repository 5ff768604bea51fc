package io.fourfold.report;

/** Escaping for markup that is valid both as HTML and as XML. */
final class Html {
    private Html() {}

    /** Text or attribute value; characters that no XML document may hold become U+FFFD. */
    static String escape(String text) {
        StringBuilder out = new StringBuilder(text.length() + 16);
        text.codePoints().forEach(c -> {
            switch (c) {
                case '&' -> out.append("&amp;");
                case '<' -> out.append("&lt;");
                case '>' -> out.append("&gt;");
                case '"' -> out.append("&quot;");
                case '\'' -> out.append("&#39;");
                default -> out.appendCodePoint(legal(c) ? c : 0xfffd);
            }
        });
        return out.toString();
    }

    /** JSON for an attribute in single quotes, where its many double quotes can stay as they are. */
    static String jsonAttribute(String json) {
        return json.replace("&", "&amp;")
                .replace("<", "&lt;")
                .replace(">", "&gt;")
                .replace("'", "&#39;");
    }

    private static boolean legal(int c) {
        boolean control = c < 0x20 && c != '\n' && c != '\t' && c != '\r' || c >= 0x7f && c < 0xa0;
        boolean surrogate = c >= 0xd800 && c <= 0xdfff;
        return !control && !surrogate && (c & 0xfffe) != 0xfffe;
    }
}
