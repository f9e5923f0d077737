/** The shared ports wherever there is the Web Cryptography API: in browsers, and in Node too. */
export { createWebCrypto, type WebCiphers } from './web-crypto.ts';
