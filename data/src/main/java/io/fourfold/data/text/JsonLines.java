package io.fourfold.data.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/** Documents from lines of JSON. Blank lines are no records. A field {@code id} becomes the document's identifier. */
public final class JsonLines implements RecordSource {
    private static final String ID = "id";
    private static final JsonFactory JSON = JsonFactory.builder()
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxStringLength(Integer.MAX_VALUE)
                    .build())
            .build();

    private final LineReader lines;
    private final String file;
    private final String textField;
    private final long end;
    private final boolean whole;
    private final StrictUtf8 utf8 = new StrictUtf8();

    private JsonLines(LineReader lines, String file, String textField, long end, boolean whole) {
        this.lines = lines;
        this.file = file;
        this.textField = textField;
        this.end = end;
        this.whole = whole;
    }

    /** Every line. */
    public static JsonLines whole(LineReader lines, String file, String textField) {
        return new JsonLines(lines, file, textField, Long.MAX_VALUE, true);
    }

    /**
     * The lines that begin at file positions {@code [start, end)}; {@code lines} must stand at {@code start - 1}, or at 0
     * for the first part.
     */
    public static JsonLines part(LineReader lines, String file, String textField, long start, long end)
            throws IOException {
        if (start > 0) {
            // Up to the next line end: that line began before this part, or is the last byte before it.
            lines.next();
        }
        return new JsonLines(lines, file, textField, end, false);
    }

    @Override
    public @Nullable RawRecord next() throws IOException {
        while (lines.next() && lines.offset() < end) {
            String place = whole ? file + ":" + lines.number() : file + " at byte " + lines.offset();
            byte[] bytes = lines.bytes();
            if (bytes == null) {
                return RawRecord.skipped(place, SkipReason.TOO_LONG, "line of " + lines.lineBytes() + " bytes");
            }
            String line = utf8.decode(bytes, 0, lines.length());
            if (line == null) {
                return RawRecord.skipped(place, SkipReason.INVALID_UTF8, "the line is not UTF-8");
            }
            if (lines.offset() == 0 && line.startsWith("\uFEFF")) {
                line = line.substring(1);
            }
            if (!line.isBlank()) {
                return parse(place, line);
            }
        }
        return null;
    }

    private RawRecord parse(String place, String line) throws IOException {
        String id = null;
        String text = null;
        boolean hasField = false;
        try (JsonParser parser = JSON.createParser(line)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                return RawRecord.skipped(place, SkipReason.MALFORMED_JSON, "not a JSON object");
            }
            for (JsonToken token = parser.nextToken(); token != JsonToken.END_OBJECT; token = parser.nextToken()) {
                String name = parser.currentName();
                JsonToken value = parser.nextToken();
                if (name.equals(textField)) {
                    hasField = true;
                    text = value == JsonToken.VALUE_STRING ? parser.getText() : null;
                } else if (name.equals(ID) && value.isScalarValue()) {
                    id = parser.getText();
                }
                parser.skipChildren();
            }
            if (parser.nextToken() != null) {
                return RawRecord.skipped(place, SkipReason.MALFORMED_JSON, "something follows the JSON object");
            }
        } catch (JsonProcessingException e) {
            return RawRecord.skipped(place, SkipReason.MALFORMED_JSON, e.getOriginalMessage());
        }
        if (text == null) {
            String detail = hasField ? "field '" + textField + "' is not a string" : "no field '" + textField + "'";
            return RawRecord.skipped(place, SkipReason.MISSING_TEXT, detail);
        }
        return RawRecord.of(place, id, text);
    }

    @Override
    public void close() throws IOException {
        lines.close();
    }
}
