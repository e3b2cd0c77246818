import t from 'tap';
import { storeContract } from '../contract/store.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { makeWriteBack } from '../support/write-back.ts';

storeContract(t, 'write-back', {
  make: async () => (await makeWriteBack({ store: new MemoryStore() })).store,
  lacks: { md5Etags: true },
});
