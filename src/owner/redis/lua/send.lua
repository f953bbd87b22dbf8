-- send: mirrors domain/messages.rs
-- A message to the room, or to the member `peer` if that is not empty. `message_rest`: the message from its id on.
-- `client_id`: the sender's id of the message, or empty. `publisher`: a backend that sends the message, as a member, or empty.
-- `revised`: the message that this one changes, by `revision`: "e" (edit) or "d" (delete), with `content`.
local connection, peer, message, message_rest, client_id, publisher = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local revised, revision, content = ARGV[11], ARGV[12], ARGV[13]
if publisher == '' then publisher = nil end
local why = open(publisher)
if why then return refuse(why) end
if peer ~= '' then touch() end
local text = publisher or call('HGET', members_key, connection)
if not text then return refuse('not_in_room') end
if peer ~= '' then
  local target, target_text = addressed(peer)
  if not target then return refuse('peer_not_found') end
  hand(target, '{"message":{"by":' .. text .. ',"to":' .. target_text .. ',' .. message_rest .. '}')
  return done('"id":"' .. message .. '","at":' .. now)
end
if publisher then
  -- A backend names a connection by the id that its client knows, which a recovery keeps.
  local excluded = addressed(connection)
  if excluded then connection = excluded.c end
end
local repeatable
local repeat_ms = publisher and REPEATED_PUBLICATION_MS or REPEAT_MS
if client_id ~= '' then
  local first_epoch, user_id = call('HGET', key, 'b') or room.epoch, cjson.decode(text).w[1]
  repeatable = key .. ':c:' .. first_epoch .. ':' .. user_id .. '\n' .. client_id
  local known = call('GET', repeatable)
  if known and now - tonumber(string.match(known, '%d+$')) < repeat_ms then return done(known) end
end
local revised_seq
if revised then
  revised_seq = call('HGET', ids_key, revised)
  local found = revised_seq and call('XRANGE', log_key, revised_seq .. '-0', revised_seq .. '-0')[1]
  if not found or not is_live(found) then return refuse('message_not_found') end
  local by = cjson.decode(text).w
  local is_own = cjson.decode(found[2][2]).by.w[1] == by[1]
  if not publisher and not is_own and not is_host(by[1], by[4] % 2 == 1 and '1') then return refuse('change_forbidden') end
end
local n, seq = room.number + 1, room.seq + 1
local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. text .. ',' .. message_rest
append(seq, entry, message)
call('HSET', key, 's', seq, 'n', n, 'a', now)
call('HSET', ids_key, message, seq)
if revision == 'd' then
  call('HSET', revised_key, revised_seq, '{"k":"d","at":' .. now .. '}')
elseif revision == 'e' then
  -- Parts that this edit leaves out stay as an earlier one has set them.
  local former, parts = call('HGET', revised_key, revised_seq), cjson.decode(content)
  for name, value in pairs(former and cjson.decode(former).s or {}) do
    if parts[name] == nil then parts[name] = value end
  end
  call('HSET', revised_key, revised_seq, '{"k":"e","at":' .. now .. ',"s":' .. cjson.encode(parts) .. '}')
end
local most = room.kept and room.keep_count or RECEIPTED_MESSAGES
-- Between two trims the log is longer than its limit.
if seq % TRIM_EVERY == 0 then trim(most > 0 and seq - most + 1 or 0) end
call(publish, key, '{"n":' .. n .. ',"z":' .. room.generation .. ',"o":"' .. origin .. '","t":' .. now ..
  ',"f":[["*' .. connection .. '",{"message":' .. entry .. '}]]}')
hook(revision == 'd' and HOOK_MESSAGE_DELETED or revision == 'e' and HOOK_MESSAGE_EDITED or HOOK_MESSAGE, ',"e":' .. entry)
local answer = '"id":"' .. message .. '","seq":' .. seq .. ',"at":' .. now
if repeatable then call('SET', repeatable, answer, 'PX', repeat_ms) end
if publisher then rest() end
return '{"n":' .. n .. ',"z":' .. room.generation .. ',"f":1,"d":0,"e":"' .. room.epoch .. '",' .. answer .. '}'
