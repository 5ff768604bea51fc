package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.text.Decompression;
import io.fourfold.data.text.Document;
import io.fourfold.data.text.DocumentReader;
import io.fourfold.data.text.InputKind;
import io.fourfold.data.text.JsonLines;
import io.fourfold.data.text.LineReader;
import io.fourfold.data.text.PlainText;
import io.fourfold.data.text.RecordSource;
import io.fourfold.data.text.SkipCounts;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.Path;
import org.jspecify.annotations.Nullable;

/** All documents of a unit, in order. Both passes over the input use it, so they agree on what a document is. */
final class UnitReader implements Closeable {
    /** A unit this bad from the start is not worth finishing. */
    private static final long HOPELESS_RECORDS = 1000;

    private final PrepUnit unit;
    private final PrepSettings settings;
    private final Configuration configuration;
    private final DocumentReader documents;
    private int nextSlice;
    private @Nullable RecordSource current;

    UnitReader(PrepUnit unit, PrepSettings settings, Configuration configuration) {
        this.unit = unit;
        this.settings = settings;
        this.configuration = configuration;
        this.documents = new DocumentReader(settings.maxDocumentBytes());
    }

    SkipCounts counts() {
        return documents.counts();
    }

    /** Name of the file the last document came from. */
    String source() {
        return unit.slices().get(nextSlice - 1).file().name();
    }

    /** The next document; null at the end. */
    @Nullable
    Document next() {
        try {
            while (true) {
                if (current == null) {
                    if (nextSlice == unit.slices().size()) {
                        return null;
                    }
                    current = open(unit.slices().get(nextSlice++));
                }
                Document document = documents.next(current);
                if (document != null) {
                    return document;
                }
                close();
                checkNotHopeless();
            }
        } catch (IOException | RuntimeException e) {
            if (e instanceof DataException known) {
                throw known;
            }
            InputFile file = unit.slices().get(Math.max(0, nextSlice - 1)).file();
            throw new DataException(
                    "Cannot read " + file.path() + " of data set " + settings.dataSet() + ": " + e.getMessage()
                            + ". The file may be truncated or not be what its name says; replace it, or take it out of"
                            + " data.sources." + settings.dataSet() + ".",
                    e);
        }
    }

    private void checkNotHopeless() {
        SkipCounts counts = counts();
        if (counts.records() >= HOPELESS_RECORDS) {
            BadInput.check(settings, counts.records(), counts.byReason(), counts.examples(), BadInput.HOPELESS_SHARE);
        }
    }

    private RecordSource open(PrepUnit.Slice slice) throws IOException {
        InputFile file = slice.file();
        Path path = new Path(file.path());
        InputKind kind = file.kind();
        if (kind.format() == InputKind.Format.PARQUET) {
            return new ParquetRows(path, file.name(), settings.textField(), configuration);
        }
        FSDataInputStream stored = Folder.raw(path.getFileSystem(configuration)).open(path);
        try {
            int maxBytes = DocumentReader.maxRecordBytes(settings.maxDocumentBytes());
            if (kind.format() == InputKind.Format.TEXT) {
                return new PlainText(Decompression.wrap(stored, kind.compression()), file.name(), maxBytes);
            }
            if (slice.whole()) {
                InputStream plain = Decompression.wrap(stored, kind.compression());
                return JsonLines.whole(new LineReader(plain, maxBytes, 0), file.name(), settings.textField());
            }
            long start = Math.max(0, slice.start() - 1);
            stored.seek(start);
            LineReader lines = new LineReader(stored, maxBytes, start);
            return JsonLines.part(lines, file.name(), settings.textField(), slice.start(), slice.end());
        } catch (IOException | RuntimeException e) {
            stored.close();
            throw e;
        }
    }

    @Override
    public void close() throws IOException {
        RecordSource open = current;
        current = null;
        if (open != null) {
            open.close();
        }
    }
}
