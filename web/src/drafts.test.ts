import { beforeEach, describe, expect, it, vi } from 'vitest';

import { Drafts } from './drafts';
import { forgetUser } from './storage';

beforeEach(() => localStorage.clear());

describe('drafts', () => {
  it('keeps a text for each conversation over a reload', () => {
    const drafts = new Drafts('u1');
    drafts.set('g1', 'to be continued');
    drafts.set('@esi', 'hello');
    const reloaded = new Drafts('u1');
    expect([...reloaded.texts.get()].sort()).toEqual([
      ['@esi', 'hello'],
      ['g1', 'to be continued'],
    ]);
  });

  it('deletes an empty text', () => {
    const drafts = new Drafts('u1');
    drafts.set('g1', 'hello');
    drafts.set('g1', '');
    expect(drafts.texts.get().size).toBe(0);
    expect(localStorage).toHaveLength(0);
  });

  it('moves a draft from the handle to the conversation, and loses no text', () => {
    const drafts = new Drafts('u1');
    drafts.set('@esi', 'hello');
    drafts.move('@esi', 'g1');
    expect(drafts.get('g1')).toBe('hello');
    expect(drafts.get('@esi')).toBe('');
    drafts.set('@esi', 'other');
    drafts.move('@esi', 'g1');
    expect(drafts.get('g1')).toBe('hello\nother');
  });

  it('follows what another tab writes', () => {
    const [one, two] = [new Drafts('u1'), new Drafts('u1')];
    one.set('g1', 'hello');
    const written = vi.spyOn(localStorage, 'setItem');
    two.onStored('cruddur:u1:draft:g1');
    expect(two.get('g1')).toBe('hello');
    expect(written).not.toHaveBeenCalled();
    written.mockRestore();
    one.set('g1', '');
    two.onStored('cruddur:u1:draft:g1');
    expect(two.get('g1')).toBe('');
    expect(localStorage).toHaveLength(0);
  });

  it('separates users, and forgets one of them', () => {
    new Drafts('u1').set('g1', 'mine');
    expect(new Drafts('u2').get('g1')).toBe('');
    new Drafts('u2').set('g1', 'theirs');
    forgetUser('u1');
    expect(new Drafts('u1').get('g1')).toBe('');
    expect(new Drafts('u2').get('g1')).toBe('theirs');
  });

  it('works without storage', () => {
    const original = localStorage.setItem.bind(localStorage);
    localStorage.setItem = () => {
      throw new DOMException('full', 'QuotaExceededError');
    };
    const drafts = new Drafts('u1');
    drafts.set('g1', 'hello');
    expect(drafts.get('g1')).toBe('hello');
    localStorage.setItem = original;
  });
});
