# The product in one small image: no shell, no package manager, not root.
#   docker build -t justlogistics .
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/justlogistics ./cmd/justlogistics

# Brings certificates, time zones and a user of its own, and nothing else.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/justlogistics /usr/local/bin/justlogistics
USER 65532:65532
# 8080 is the API, 9090 metrics (and the worker's readiness).
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/justlogistics"]
CMD ["api"]
