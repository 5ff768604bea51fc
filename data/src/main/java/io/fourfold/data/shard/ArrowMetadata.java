package io.fourfold.data.shard;

import com.google.flatbuffers.FlatBufferBuilder;
import java.nio.ByteBuffer;
import org.apache.arrow.flatbuf.Block;
import org.apache.arrow.flatbuf.Buffer;
import org.apache.arrow.flatbuf.Endianness;
import org.apache.arrow.flatbuf.Field;
import org.apache.arrow.flatbuf.FieldNode;
import org.apache.arrow.flatbuf.Footer;
import org.apache.arrow.flatbuf.Int;
import org.apache.arrow.flatbuf.Message;
import org.apache.arrow.flatbuf.MessageHeader;
import org.apache.arrow.flatbuf.MetadataVersion;
import org.apache.arrow.flatbuf.RecordBatch;
import org.apache.arrow.flatbuf.Schema;
import org.apache.arrow.flatbuf.Type;

/**
 * The Arrow metadata of a shard: one column {@code tokens: list<item: uint16 | int32 not null> not null}, one record
 * batch, a row per document. So the list's offsets are the document offsets and its values one run of tokens.
 */
final class ArrowMetadata {
    static final String COLUMN = "tokens";
    private static final short VERSION = MetadataVersion.V5;

    private ArrowMetadata() {}

    /** Positions within the record batch's body, in bytes. */
    record BodyLayout(long documents, long tokens, long offsetsBytes, long valuesStart, long valuesBytes, long length) {
        static BodyLayout of(long documents, long tokens, TokenType type) {
            long offsetsBytes = (documents + 1) * Integer.BYTES;
            long valuesStart = ArrowShardFormat.align(offsetsBytes);
            long valuesBytes = tokens * type.bytes();
            return new BodyLayout(
                    documents,
                    tokens,
                    offsetsBytes,
                    valuesStart,
                    valuesBytes,
                    ArrowShardFormat.align(valuesStart + valuesBytes));
        }
    }

    static ByteBuffer schemaMessage(TokenType type) {
        FlatBufferBuilder builder = new FlatBufferBuilder();
        int schema = schema(builder, type);
        return message(builder, MessageHeader.Schema, schema, 0);
    }

    static ByteBuffer recordBatchMessage(BodyLayout body) {
        FlatBufferBuilder builder = new FlatBufferBuilder();
        // Flatbuffer vectors of structs are built back to front. Empty validity buffers: nothing is null.
        RecordBatch.startBuffersVector(builder, 4);
        Buffer.createBuffer(builder, body.valuesStart(), body.valuesBytes());
        Buffer.createBuffer(builder, body.valuesStart(), 0);
        Buffer.createBuffer(builder, 0, body.offsetsBytes());
        Buffer.createBuffer(builder, 0, 0);
        int buffers = builder.endVector();
        RecordBatch.startNodesVector(builder, 2);
        FieldNode.createFieldNode(builder, body.tokens(), 0);
        FieldNode.createFieldNode(builder, body.documents(), 0);
        int nodes = builder.endVector();
        RecordBatch.startRecordBatch(builder);
        RecordBatch.addLength(builder, body.documents());
        RecordBatch.addNodes(builder, nodes);
        RecordBatch.addBuffers(builder, buffers);
        return message(builder, MessageHeader.RecordBatch, RecordBatch.endRecordBatch(builder), body.length());
    }

    static ByteBuffer footer(TokenType type, long batchOffset, int batchMetadataLength, long bodyLength) {
        FlatBufferBuilder builder = new FlatBufferBuilder();
        int schema = schema(builder, type);
        Footer.startDictionariesVector(builder, 0);
        int dictionaries = builder.endVector();
        Footer.startRecordBatchesVector(builder, 1);
        Block.createBlock(builder, batchOffset, batchMetadataLength, bodyLength);
        int batches = builder.endVector();
        Footer.startFooter(builder);
        Footer.addVersion(builder, VERSION);
        Footer.addSchema(builder, schema);
        Footer.addDictionaries(builder, dictionaries);
        Footer.addRecordBatches(builder, batches);
        builder.finish(Footer.endFooter(builder));
        return builder.dataBuffer();
    }

    private static ByteBuffer message(FlatBufferBuilder builder, byte headerType, int header, long bodyLength) {
        Message.startMessage(builder);
        Message.addVersion(builder, VERSION);
        Message.addHeaderType(builder, headerType);
        Message.addHeader(builder, header);
        Message.addBodyLength(builder, bodyLength);
        builder.finish(Message.endMessage(builder));
        return builder.dataBuffer();
    }

    private static int schema(FlatBufferBuilder builder, TokenType type) {
        int item = Int.createInt(builder, type.bytes() * Byte.SIZE, type == TokenType.INT32);
        int child = field(builder, "item", Type.Int, item, Field.createChildrenVector(builder, new int[0]));
        org.apache.arrow.flatbuf.List.startList(builder);
        int list = org.apache.arrow.flatbuf.List.endList(builder);
        int column = field(builder, COLUMN, Type.List, list, Field.createChildrenVector(builder, new int[] {child}));
        int fields = Schema.createFieldsVector(builder, new int[] {column});
        return Schema.createSchema(builder, Endianness.Little, fields, 0, 0);
    }

    private static int field(FlatBufferBuilder builder, String name, byte typeType, int type, int children) {
        int nameOffset = builder.createString(name);
        Field.startField(builder);
        Field.addName(builder, nameOffset);
        Field.addNullable(builder, false);
        Field.addTypeType(builder, typeType);
        Field.addType(builder, type);
        Field.addChildren(builder, children);
        return Field.endField(builder);
    }
}
