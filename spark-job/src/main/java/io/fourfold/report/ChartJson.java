package io.fourfold.report;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.io.StringWriter;
import java.util.Locale;

/** The data-* attributes that the page's script reads for its tooltips. */
final class ChartJson {
    private static final JsonFactory FACTORY = new JsonFactory();

    private ChartJson() {}

    /** Writes one JSON value. */
    @FunctionalInterface
    interface Body {
        void write(JsonGenerator json) throws IOException;
    }

    static String attribute(String name, Body body) {
        StringWriter text = new StringWriter(1024);
        try (JsonGenerator json = FACTORY.createGenerator(text)) {
            json.writeStartObject();
            body.write(json);
            json.writeEndObject();
        } catch (IOException e) {
            throw new IllegalStateException("Chart data could not be written to memory", e);
        }
        return " data-" + name + "='" + Html.jsonAttribute(text.toString()) + "'";
    }

    static void strings(JsonGenerator json, String name, Iterable<String> values) throws IOException {
        json.writeArrayFieldStart(name);
        for (String value : values) {
            json.writeString(value);
        }
        json.writeEndArray();
    }

    static void pixels(JsonGenerator json, String name, double[] values) throws IOException {
        json.writeArrayFieldStart(name);
        for (double value : values) {
            json.writeRawValue(pixel(value));
        }
        json.writeEndArray();
    }

    /** A coordinate with one decimal. */
    static String pixel(double value) {
        return String.format(Locale.ROOT, "%.1f", value);
    }
}
