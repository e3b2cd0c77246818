/** An `ObjectStore` in front of another that does all as that one: for those that change some of it. */
import type {
  GetRequest,
  GetResult,
  GetSink,
  ListPage,
  ListRequest,
  ObjectDescription,
  ObjectInfo,
  ObjectStore,
  ObjectVersion,
  RequestOptions,
  RestoreRequest,
  StoreFeatures,
  StoreLimits,
  Upload,
  WriteCondition,
  Written,
} from '../s3/store.ts';

export class ForwardingStore implements ObjectStore {
  protected readonly inner: ObjectStore;

  constructor(inner: ObjectStore) {
    this.inner = inner;
  }

  get limits(): StoreLimits {
    return this.inner.limits;
  }

  get features(): StoreFeatures {
    return this.inner.features;
  }

  get prefixBytes(): number {
    return this.inner.prefixBytes;
  }

  head(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<ObjectInfo> {
    return this.inner.head(key, options);
  }

  get(key: string, request: GetRequest, sink: GetSink, options?: RequestOptions): Promise<GetResult> {
    return this.inner.get(key, request, sink, options);
  }

  list(request: ListRequest, options?: RequestOptions): Promise<ListPage> {
    return this.inner.list(request, options);
  }

  put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written> {
    return this.inner.put(key, body, description, condition, options);
  }

  copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written> {
    return this.inner.copy(source, key, description, condition, options);
  }

  restore(key: string, request: RestoreRequest, options?: RequestOptions): Promise<boolean> {
    return this.inner.restore(key, request, options);
  }

  tags(key: string, options?: RequestOptions): Promise<readonly (readonly [string, string])[]> {
    return this.inner.tags(key, options);
  }

  delete(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<void> {
    return this.inner.delete(key, options);
  }

  deleteMany(keys: readonly string[], options?: RequestOptions): ReturnType<ObjectStore['deleteMany']> {
    return this.inner.deleteMany(keys, options);
  }

  resumeUpload(key: string, uploadId: string): Upload {
    return this.inner.resumeUpload(key, uploadId);
  }

  abortUpload(key: string, uploadId: string): Promise<void> {
    return this.inner.abortUpload(key, uploadId);
  }

  beginUpload(key: string, description: ObjectDescription, options?: RequestOptions): Promise<Upload> {
    return this.inner.beginUpload(key, description, options);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
