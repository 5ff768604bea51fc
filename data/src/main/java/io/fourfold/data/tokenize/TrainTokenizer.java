package io.fourfold.data.tokenize;

import io.fourfold.data.DataException;
import io.fourfold.data.text.Decompression;
import io.fourfold.data.text.Document;
import io.fourfold.data.text.DocumentReader;
import io.fourfold.data.text.InputKind;
import io.fourfold.data.text.JsonLines;
import io.fourfold.data.text.LineReader;
import io.fourfold.data.text.RecordSource;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Command that trains a tokenizer: {@code TrainTokenizer <vocabulary size> <tokenizer.json> <text.jsonl[.gz|.zst]>...}. The
 * last id is {@code <|endoftext|>}.
 */
public final class TrainTokenizer {
    static final String END_OF_DOCUMENT = "<|endoftext|>";
    private static final long MAX_DOCUMENT_BYTES = 1L << 25;

    private TrainTokenizer() {}

    public static void main(String[] arguments) throws IOException {
        if (arguments.length < 3) {
            System.err.println("Usage: TrainTokenizer <vocabulary size> <tokenizer.json> <text.jsonl[.gz|.zst]>...");
            System.exit(2);
        }
        List<Path> inputs = List.of(arguments).subList(2, arguments.length).stream()
                .map(Path::of)
                .toList();
        String json = train(inputs, Integer.parseInt(arguments[0]));
        Files.writeString(Path.of(arguments[1]), json);
        System.out.println("Wrote " + arguments[1] + ", " + json.length() + " characters");
    }

    /**
     * Trains on normalised documents.
     *
     * @param vocabSize end-of-document token included
     * @return the content of {@code tokenizer.json}
     */
    public static String train(List<Path> inputs, int vocabSize) throws IOException {
        BpeTrainer trainer = new BpeTrainer();
        for (Path input : inputs) {
            String name = input.getFileName().toString();
            InputKind kind = InputKind.of(name)
                    .filter(known -> known.format() == InputKind.Format.JSONL)
                    .orElseThrow(() -> new DataException("Not a JSONL file: " + input));
            int maxBytes = DocumentReader.maxRecordBytes(MAX_DOCUMENT_BYTES);
            LineReader lines =
                    new LineReader(Decompression.wrap(Files.newInputStream(input), kind.compression()), maxBytes, 0);
            DocumentReader documents = new DocumentReader(MAX_DOCUMENT_BYTES);
            try (RecordSource records = JsonLines.whole(lines, name, "text")) {
                for (Document document = documents.next(records);
                        document != null;
                        document = documents.next(records)) {
                    trainer.add(document.text());
                }
            }
        }
        return trainer.train(vocabSize - 1).toTokenizerJson(END_OF_DOCUMENT);
    }
}
