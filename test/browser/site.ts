/** A web site on loopback with one page, whose script and all that it imports are served as they are. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pageModules } from './modules.ts';

export interface Site {
  readonly port: number;
  close(): Promise<void>;
}

export async function startSite(script: string): Promise<Site> {
  const { files, importMap, entry } = pageModules(script);
  const html =
    '<!doctype html><meta charset="utf-8"><title>a page</title>' +
    `<script type="importmap">${JSON.stringify(importMap)}</script><script type="module" src="${entry}"></script>`;
  const server = createServer(({ url = '' }, response) => {
    const file = url === '/' ? html : files.get(url);
    const type = url === '/' ? 'text/html' : 'text/javascript';
    response.writeHead(file === undefined ? 404 : 200, { 'content-type': `${type}; charset=utf-8` }).end(file);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
