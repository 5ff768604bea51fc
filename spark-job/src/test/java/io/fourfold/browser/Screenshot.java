package io.fourfold.browser;

import java.nio.file.Path;

/** Writes a picture of a page, for the documentation: docs/watching.md tells how. */
public final class Screenshot {
    private Screenshot() {}

    /**
     * @param args address, PNG file, width and height in pixels, light or dark
     */
    public static void main(String[] args) throws Exception {
        int width = Integer.parseInt(args[2]);
        int height = Integer.parseInt(args[3]);
        try (HeadlessBrowser browser = HeadlessBrowser.start(width, height)) {
            browser.scheme(args[4]);
            browser.open(args[0]);
            browser.await("document.readyState === 'complete'");
            Thread.sleep(500);
            browser.screenshot(Path.of(args[1]), width, height);
            browser.errors().forEach(System.err::println);
        }
    }
}
