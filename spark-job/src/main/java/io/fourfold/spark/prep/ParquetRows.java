package io.fourfold.spark.prep;

import io.fourfold.data.DataException;
import io.fourfold.data.text.RawRecord;
import io.fourfold.data.text.RecordSource;
import io.fourfold.data.text.SkipReason;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.hadoop.ParquetReader;
import org.apache.parquet.hadoop.api.ReadSupport;
import org.apache.parquet.hadoop.example.GroupReadSupport;
import org.apache.parquet.hadoop.util.HadoopInputFile;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveType;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;
import org.jspecify.annotations.Nullable;

/**
 * The rows of a Parquet file in file order, only the text and id columns. Read with Parquet's own reader rather than
 * through a data frame, because the order of the rows decides the shards.
 */
final class ParquetRows implements RecordSource {
    private static final String ID = "id";

    private final ParquetReader<Group> reader;
    private final String file;
    private final String textField;
    private long row;

    ParquetRows(Path path, String file, String textField, Configuration configuration) throws IOException {
        this.file = file;
        this.textField = textField;
        Configuration projected = new Configuration(configuration);
        projected.set(
                ReadSupport.PARQUET_READ_SCHEMA, projection(path, configuration).toString());
        this.reader = ParquetReader.builder(new GroupReadSupport(), path)
                .withConf(projected)
                .build();
    }

    private MessageType projection(Path path, Configuration configuration) throws IOException {
        MessageType schema;
        try (ParquetFileReader footer = ParquetFileReader.open(HadoopInputFile.fromPath(path, configuration))) {
            schema = footer.getFileMetaData().getSchema();
        }
        if (!isBinary(schema, textField)) {
            throw new DataException("Parquet file " + path + " has no text column '" + textField + "'; its columns are "
                    + schema.getFields().stream().map(Type::getName).toList() + ". Set data.text_field.");
        }
        List<Type> columns = new ArrayList<>(List.of(schema.getType(textField)));
        if (!textField.equals(ID) && isBinary(schema, ID)) {
            columns.add(schema.getType(ID));
        }
        return new MessageType(schema.getName(), columns);
    }

    private static boolean isBinary(MessageType schema, String column) {
        return schema.containsField(column)
                && schema.getType(column) instanceof PrimitiveType primitive
                && primitive.getPrimitiveTypeName() == PrimitiveTypeName.BINARY
                && !primitive.isRepetition(Type.Repetition.REPEATED);
    }

    @Override
    public @Nullable RawRecord next() throws IOException {
        Group group = reader.read();
        if (group == null) {
            return null;
        }
        String place = file + " row " + row++;
        if (group.getFieldRepetitionCount(textField) == 0) {
            return RawRecord.skipped(place, SkipReason.MISSING_TEXT, "column '" + textField + "' is null");
        }
        byte[] bytes = group.getBinary(textField, 0).getBytes();
        String text = RawRecord.decode(bytes);
        if (text == null) {
            return RawRecord.skipped(place, SkipReason.INVALID_UTF8, "column '" + textField + "' is not UTF-8");
        }
        boolean hasId = group.getType().containsField(ID) && group.getFieldRepetitionCount(ID) > 0;
        return RawRecord.of(place, hasId && !textField.equals(ID) ? group.getString(ID, 0) : null, text);
    }

    @Override
    public void close() throws IOException {
        reader.close();
    }
}
