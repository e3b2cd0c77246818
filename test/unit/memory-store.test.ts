import t from 'tap';
import { storeContract } from '../contract/store.ts';
import { MemoryStore } from '../support/memory-store.ts';

storeContract(t, 'memory', { make: async () => new MemoryStore() });
