# A hub as a container: `docker build -t idlewild .`, then what docs/replicas.md says of Kubernetes.
#
# What runs is the sources as they are, for Node reads TypeScript; the first stage only fetches what they depend on.
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY packages packages
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app /app
RUN mkdir /data && chown 1000:1000 /data
# By number, so that an orchestrator can see that it is not root.
USER 1000:1000
VOLUME /data
EXPOSE 7860
# The certificate is the hub's own, and this asks the same machine. Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
  CMD ["env", "NODE_TLS_REJECT_UNAUTHORIZED=0", "node", "--no-warnings", "-e", \
    "fetch('https://127.0.0.1:7860/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "packages/cli/bin/idlewild.mjs"]
CMD ["up", "--host", "0.0.0.0", "--data", "/data"]
