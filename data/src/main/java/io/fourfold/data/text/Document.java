package io.fourfold.data.text;

/**
 * A normalised document.
 *
 * @param ordinal place among all records of its source, skipped ones included
 * @param id the record's own identifier, or its place
 * @param text normalised
 * @param bytes length of the text in UTF-8
 * @param hash SHA-256 of the text in UTF-8
 */
public record Document(long ordinal, String id, String text, int bytes, byte[] hash) {}
