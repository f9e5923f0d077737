/** One version for all packages; a test holds it to package.json. */
export const HUB_VERSION = '0.1.0';
