-- State and functions of the scripts of rooms. Of a room there are
--   key      a hash:
--            e     epoch                                b     first epoch
--            s     number of the last message           n     number of the last events
--            m     1 if made on purpose                 v     1 if private
--            x     capacity in members                  y     1 or 0: messages are kept or not; empty: the default
--            km    messages that are kept               ka    time they are kept; both empty: the default
--            a     time of the last activity            c     time of its making
--            h     host, as JSON                        hu    the host's user id
--            hg    1 if the host is a guest             pf    profile, as JSON
--            hk    hash of the host secret; empty: none   lk    1 if locked
--            o     members so far                       k     members that are Socket.IO peers
--            ob    observers among the members; absent: none
--            u, w  1 if the number of members, or of users, is to be published
--            z     the Redis server that keeps the room, and its takeover, with "?" between them while the server waits for
--                  what the nodes know, or else ":"
--            zt    since when it waits                  zl    the last takeovers, each with n at that time
--            i     number of members that key:u and key:h count
--            cq    number of members that can use a media server
--            cm    reason that media go through a media server; absent: they go from peer to peer
--            cw    connection mode that the host wants; absent: the one that follows from the callers
--            cl    number of callers when two of them could not connect; cr: when media go from peer to peer again
--   key:m    a hash: members by connection              key:p    a hash: connections by chosen peer id
--   key:u    a sorted set: users with members, by name  key:h    a hash: number of members by user
--   key:l    a stream: messages, by number              key:i    a hash: numbers of messages by id
--   key:e    a hash: edits and deletions of messages, by their numbers: k kind (e, d), at, s content of an edit; of streams, k is
--            s (open), c (complete) or x (cancelled), and s has the whole text
--   key:o    a hash: open streams by message: q number, u and b length of the text in UTF-16 code units and bytes, at time of the
--            last piece, m publisher as a member; and, by the message and ":t", the text, as JSON without quotation marks
--   key:f    a stream: other events, by number          key:t    a hash: typing indicators, by connection
--   key:a    a sorted set: participants                 key:x    a string: the room was closed a moment ago
--   key:k:id a hash: receipts of a message              key:c:id a string: the reply to a message with a client id
--   key:g:id a string that exists while a connection has been relayed signals lately: until it takes the whole again
--   key:z    a set: nodes that have not reported what they know
-- A takeover is 0 for the server that made the room, and else a number: how many there were before, and 12 digits that no
-- other takeover has. Two servers that take over from the same one, because each is the master for some nodes, differ in it.
-- A member is the JSON of `WireMember`: c connection, p peer id, w identity (its first entry is the user id), v media (8: it can
-- use a media server, 16: it has sent a signal), k 1 for
-- a Socket.IO peer, q node, d name to show, o order, da data, ob 1 for an observer, whom the others do not see. An observer without
-- data has an empty da.
-- Argument 4: the rules: announce limit, capacity in members, 1 if messages are kept, how many, and how long; 1 if connection
-- modes change, callers that are connected from peer to peer at most (0: any number), and time after which they are again; time
-- after which a stream without pieces ends; and, if the application has endpoints, the kinds of hook events, as bits.
local members_key, peers_key, participants_key = key .. ':m', key .. ':p', key .. ':a'
local users_key, user_counts_key = key .. ':u', key .. ':h'
local log_key, ids_key, typing_key, revised_key, streams_key = key .. ':l', key .. ':i', key .. ':t', key .. ':e', key .. ':o'
local announce, takes, keeps, keep, keep_ms, has_modes, p2p_max, return_ms, stream_ms, hooks
do
  local rules = {}
  for rule in string.gmatch(ARGV[4], '%d+') do rules[#rules + 1] = tonumber(rule) end
  announce, takes, keeps, keep, keep_ms = rules[1], rules[2], rules[3], rules[4], rules[5]
  has_modes, p2p_max, return_ms = rules[6] == 1, rules[7], rules[8]
  stream_ms, hooks = rules[9], rules[10] or 0
end
local room, events, due, returns_in, streams_in, has_call_news = nil, {}, 0, nil, nil, false

-- A refusal. It names the room's epoch, so that a node that knows another epoch finds out. For a connection that is no member,
-- a private room looks like one that does not exist.
local function refuse(why)
  if why == 'not_in_room' and room and room.private then why = 'hidden' end
  return '{"x":"' .. why .. '"' .. (room and ',"e":"' .. room.epoch .. '","z":' .. room.generation or '') .. '}'
end

-- Adds an event for the application to the outbox, if an endpoint wants events of its kind. `data`: fields of JSON, or empty.
local function hook(kind, data)
  if hooks % (2 * kind) < kind then return end
  local event = '{"k":' .. kind .. ',"t":' .. now .. ',"r":' .. cjson.encode(key) .. data .. '}'
  call('XADD', string.match(key, '^(.-):room:{') .. ':hooks', 'MAXLEN', '~', HOOK_EVENTS_MAX, '*', 'e', event)
end

-- Does a command with each key that ends with the room.
local function each(command, ...)
  for _, part in ipairs({'', ':m', ':p', ':u', ':h', ':l', ':i', ':e', ':o', ':f', ':t', ':a', ':z'}) do call(command, key .. part, ...) end
end

-- Time the room can be empty before it ends; 0: no limit.
local function idle_ms()
  if room.made then return MADE_ROOM_IDLE_MS end
  if room.kept and room.seq > 0 then
    return room.keep_age > 0 and math.max(room.keep_age, JOINED_ROOM_IDLE_MS) or 0
  end
  return JOINED_ROOM_IDLE_MS
end

-- Appends an entry to the log of messages. After a failover the log can have entries beyond the room's last message: those of
-- a run of the room that is over. They are removed. A script appends before it writes anything else, so that an error leaves
-- no part of an operation.
local function append(seq, entry, message)
  local added = redis.pcall('XADD', log_key, seq .. '-0', 'm', entry, 'i', message)
  if type(added) ~= 'table' then return end
  if string.find(added.err, 'equal or smaller', 1, true) then
    for _, beyond in ipairs(call('XRANGE', log_key, seq .. '-0', '+')) do
      call('XDEL', log_key, beyond[1])
      call('HDEL', ids_key, beyond[2][4])
      call('HDEL', revised_key, string.match(beyond[1], '^%d+'))
      call('HDEL', streams_key, beyond[2][4], beyond[2][4] .. ':t')
    end
    call('XSETID', log_key, (seq - 1) .. '-0')
  end
  call('XADD', log_key, seq .. '-0', 'm', entry, 'i', message)
end

-- Appends to the last events. If they cannot be continued, nodes that miss some find them gone.
local function keep_events(n, body)
  local added = redis.pcall('XADD', key .. ':f', 'MAXLEN', '~', EVENTS_KEPT, n .. '-0', 'b', body)
  if type(added) ~= 'table' then return end
  call('DEL', key .. ':f')
  call('XADD', key .. ':f', n .. '-0', 'b', body)
end

-- This server has the room: operations can go on.
local function settle()
  call('HSET', key, 'z', server() .. ':' .. room.generation)
  call('HDEL', key, 'zt')
  call('DEL', key .. ':z')
end

-- The takeovers that this server knows, the first one first, each with the number of the last events before it.
local function takeovers()
  local known = {}
  for generation, number in string.gmatch(call('HGET', key, 'zl') or '', '(%d+)=(%d+)') do
    known[#known + 1] = {generation, tonumber(number)}
  end
  return known
end

-- Notes a takeover by this server.
local function note_takeover(own, time)
  local known = takeovers()
  if #known == 0 then known[1] = {room.generation, 0} end
  local count = #room.generation > TAKEOVER_DIGITS and tonumber(string.sub(room.generation, 1, -TAKEOVER_DIGITS - 1)) or 0
  local word = redis.sha1hex(own .. ' ' .. origin .. ' ' .. time[1] .. ' ' .. time[2])
  local digits = string.format('%0' .. TAKEOVER_DIGITS .. '.0f', tonumber(string.sub(word, 1, 12), 16))
  room.generation = string.format('%.0f', count + 1) .. string.sub(digits, -TAKEOVER_DIGITS)
  known[#known + 1] = {room.generation, room.number}
  local list = {}
  for at = math.max(1, #known - TAKEOVERS_KEPT), #known do list[#list + 1] = known[at][1] .. '=' .. known[at][2] end
  call('HSET', key, 'zl', table.concat(list, ' '))
end

-- Notes activity in the room.
local function touch()
  call('HSET', key, 'a', now)
end

-- Sets the end of a room without members. The last events are for nodes with members, so that they end now. A stream
-- reserves space for more entries; a copy of it does not.
local function rest()
  if call('HLEN', members_key) > 0 then return end
  room.is_resting = true
  if has_modes then call('HDEL', key, 'cq', 'cm', 'cw', 'cl', 'cr') end
  if call('DEL', key .. ':f') == 1 and call('XLEN', log_key) <= COMPACTED_MESSAGES then
    if call('COPY', log_key, log_key .. ':-', 'REPLACE') == 1 then call('RENAME', log_key .. ':-', log_key) end
  end
  local ms = idle_ms()
  -- A node ends the room before that; see `open`.
  if ms > 0 then each('PEXPIRE', ms + IDLE_MARGIN_MS) else each('PERSIST') end
end

-- Adds an event for an audience: "*" and a connection: all members but that one; "@" and a connection; "u" and a user.
local function tell(audience, event)
  events[#events + 1] = '[' .. cjson.encode(audience) .. ',' .. event .. ']'
end

-- Changes the connection mode, for a reason.
local function change_mode(mode, previous, reason)
  if mode == 'sfu' then call('HSET', key, 'cm', reason) else call('HDEL', key, 'cm') end
  call('HDEL', key, 'cr')
  tell('*', '{"mode":{"m":"' .. mode .. '","p":"' .. previous .. '","y":"' .. reason .. '"}}')
end

-- The number of callers: members that send media, have sent a signal, or can use a media server. The entry of these is the only
-- one of that name: quotation marks within texts are escaped.
local function count_callers()
  local count = 0
  for _, text in ipairs(call('HVALS', members_key)) do
    if string.match(text, '"v":(%d+)') ~= '0' then count = count + 1 end
  end
  return count
end

-- After callers have changed: adapts the connection mode to them; mirrors domain/call.rs. Members are counted only if some can use
-- a media server.
local function settle_mode()
  local v = call('HMGET', key, 'cq', 'cm', 'cw', 'cl', 'cr')
  local capable, is_sfu, wanted, failed_among = tonumber(v[1] or 0), v[2], v[3], v[4]
  if capable < 2 and not is_sfu and not wanted and not failed_among then return end
  local callers = capable >= 2 and count_callers() or 0
  if failed_among and tonumber(failed_among) ~= callers then
    call('HDEL', key, 'cl')
    failed_among = false
  end
  local is_crowded = p2p_max ~= 0 and callers > p2p_max
  local is_wanted
  if wanted then is_wanted = wanted == 'sfu' else is_wanted = is_crowded or failed_among end
  is_wanted = is_wanted and capable >= 2
  if is_wanted and not is_sfu then
    change_mode('sfu', 'p2p', wanted and 'requested' or is_crowded and 'participants' or 'p2p-failed')
  elseif is_sfu and not is_wanted and wanted == 'p2p' then
    change_mode('p2p', 'sfu', 'requested')
  elseif is_sfu and not is_wanted then
    local at = tonumber(v[5] or now + return_ms)
    if not v[5] then call('HSET', key, 'cr', at) end
    returns_in = math.max(at - now, 0)
  elseif v[5] then
    call('HDEL', key, 'cr')
  end
end

-- The media of a member change, as bits; 0: it is none.
local function note_media(before, after)
  if not has_modes then return end
  local by = math.floor(after / 8) % 2 - math.floor(before / 8) % 2
  if by ~= 0 then call('HINCRBY', key, 'cq', by) end
  has_call_news = true
end

-- Numbers and publishes the events. Light events have no number. Returns 1 if there were numbered ones, or else 0.
local function publish_events(is_light)
  if #events == 0 then return 0 end
  local n = is_light and 0 or call('HINCRBY', key, 'n', 1)
  local body = '{"n":' .. n .. ',"z":' .. room.generation .. ',"o":"' .. origin .. '","t":' .. now .. ',"f":[' ..
    table.concat(events, ',') .. ']}'
  events = {}
  if is_light then
    call(publish, key, body)
    return 0
  end
  room.number = n
  if not room.is_resting then keep_events(n, body) end
  call(publish, key, body)
  return 1
end

-- Ends the epoch: all members leave, and the log belongs to the next epoch.
local function end_epoch(next_epoch)
  room.epoch, room.socketio_count, room.observers = next_epoch, 0, 0
  note_takeover(server(), call('TIME'))
  call('HSET', key, 'e', room.epoch, 'n', room.number, 'k', 0)
  call('HDEL', key, 'u', 'w', 'i', 'ob')
  call('DEL', members_key, peers_key, users_key, user_counts_key, typing_key)
  tell('*', '{"closed":"the room\'s messages were lost"}')
  rest()
end

-- Whether operations can go on. A server that has taken the room over can lack events that the former server published, and
-- would use their numbers again: first the nodes with members report what they know; see `since`. If one of them does not
-- report in time, what it knows is not excluded, so the epoch ends; a node that reports just now (`knows`) still can.
local function is_settled(keeper, knows)
  local own = server()
  local name, is_awaiting, generation = string.match(keeper or '', '^(%w*)([:?])(%d+)$')
  room.generation = generation or '0'
  if name == own and is_awaiting == ':' then return true end
  local time = call('TIME')
  local ms = time[1] * 1000 + math.floor(time[2] / 1000)
  if name ~= own then
    note_takeover(own, time)
    call('DEL', key .. ':z')
    for _, text in ipairs(call('HVALS', members_key)) do call('SADD', key .. ':z', cjson.decode(text).q) end
    call('HSET', key, 'z', own .. '?' .. room.generation, 'zt', ms)
  end
  if call('SCARD', key .. ':z') > 0 then
    if knows or ms - call('HGET', key, 'zt') < TAKEOVER_MS then return false end
    end_epoch(string.sub(redis.sha1hex(own .. ' ' .. origin .. ' ' .. time[1] .. ' ' .. time[2]), 1, EPOCH_CHARS))
    publish_events()
    room.is_resting = nil
  end
  settle()
  return true
end

-- Reads the room. Returns the reason if that is not possible. An idle room exists only for operations that wake it (`wakes`).
-- A node that reports what it knows (`knows`) need not wait until the server has the room.
local function open(wakes, knows)
  local v = call('HMGET', key, 'e', 's', 'n', 'm', 'v', 'x', 'y', 'km', 'ka', 'a', 'hu', 'hg', 'k', 'z', 'hk', 'lk', 'ob')
  if not v[1] then
    return now < tonumber(call('GET', key .. ':x') or 0) and 'room_closed' or 'room_not_found'
  end
  room = {
    epoch = v[1], seq = tonumber(v[2]), number = tonumber(v[3]), made = v[4] == '1', private = v[5] == '1',
    capacity = tonumber(v[6]), history = v[7], keep_count = v[8] ~= '' and tonumber(v[8]) or keep,
    keep_age = v[9] ~= '' and tonumber(v[9]) or keep_ms, host = v[11],
    socketio_count = tonumber(v[13]), host_key = v[15], locked = v[16] == '1', observers = tonumber(v[17] or 0)
  }
  room.kept = (room.history == '' and keeps == 1) or room.history == '1'
  if not is_settled(v[14], knows) and not knows then return 'unsettled' end
  local idle = now - tonumber(v[10])
  if idle >= JOINED_ROOM_IDLE_MS and call('HLEN', members_key) == 0 then
    local ms = idle_ms()
    if ms > 0 and idle >= ms then
      each('DEL')
      hook(HOOK_ROOM_CLOSED, '')
    elseif room.made or wakes then
      return
    end
    room = nil
    return 'room_not_found'
  end
end

-- The reason why a room cannot be read, where it does not matter whether it was closed.
local function absence(why)
  return why == 'unsettled' and why or 'room_not_found'
end

-- The end of every script: publishes the events, and returns the answer. The answer is a text or pieces of one, and a piece can
-- be a table, of texts that commas are to separate: Lua is slow to join large texts. An answer with `texts` ends with the start
-- of a list, which gets them.
local function done(answer, is_light, texts)
  if has_call_news and not room.is_resting then settle_mode() end
  local has = publish_events(is_light)
  local head = '{"n":' .. room.number .. ',"z":' .. room.generation .. ',"f":' .. has .. ',"d":' .. due ..
    (returns_in and ',"cr":' .. returns_in or '') .. (streams_in and ',"si":' .. streams_in or '') ..
    ',"e":"' .. room.epoch .. '",'
  if type(answer) == 'string' then
    if not texts then return head .. answer .. '}' end
    answer = {answer}
  end
  table.insert(answer, 1, head)
  answer[#answer + 1] = texts
  answer[#answer + 1] = texts and ']}' or '}'
  return answer
end

-- Publishes an event for one member outside the room's order, by the channel of its node.
local function hand(seat, event)
  local prefix = string.match(key, '^(.-):room:{')
  local body = '{"r":' .. cjson.encode(key) .. ',"t":' .. now .. ',"f":[["@' .. seat.c .. '",' .. event .. ']]}'
  call('PUBLISH', prefix .. ':node:{' .. seat.q .. '}', body)
end

local function observes(seat)
  return seat.ob == 1
end

-- Number of members without observers.
local function count_members()
  return call('HLEN', members_key) - room.observers
end

-- Those of the texts of members that are of no observers. Quotation marks within texts are escaped.
local function visible(texts)
  if room.observers == 0 then return texts end
  local seen = {}
  for _, text in ipairs(texts) do
    if not string.find(text, '"ob":1', 1, true) then seen[#seen + 1] = text end
  end
  return seen
end

local function count_observers(by)
  room.observers = call('HINCRBY', key, 'ob', by)
  if room.observers == 0 then call('HDEL', key, 'ob') end
end

local function seat_of(connection)
  local text = call('HGET', members_key, connection)
  if text then return cjson.decode(text), text end
end

-- The member with a name: the chosen one, or else the id of its connection.
local function named(name)
  local connection = call('HGET', peers_key, name)
  if connection then return seat_of(connection) end
  local seat, text = seat_of(name)
  if seat and seat.p == '' then return seat, text end
end

-- The member that others address by a name: its own, or the id of its present connection, which is another one after a
-- recovery. Others do not see observers.
local function addressed(name)
  local seat, text = named(name)
  if not seat then seat, text = seat_of(name) end
  if seat and not observes(seat) then return seat, text end
end

local function name_of(seat)
  return seat.p ~= '' and seat.p or seat.c
end

local function write(seat)
  local text = cjson.encode(seat)
  call('HSET', members_key, seat.c, text)
  return text
end

local function count_peers(by)
  if by ~= 0 then room.socketio_count = call('HINCRBY', key, 'k', by) end
end

-- A user has a member more, or fewer.
local function count_user(user, by)
  local count = call('HINCRBY', user_counts_key, user, by)
  call('HINCRBY', key, 'i', by)
  if count > 0 then
    call('ZADD', users_key, 0, user)
  else
    call('HDEL', user_counts_key, user)
    call('ZREM', users_key, user)
  end
end

-- Counts the users again if a node of another version has not counted some members.
local function check_users()
  if tonumber(call('HGET', key, 'i') or 0) == count_members() then return end
  call('DEL', users_key, user_counts_key)
  call('HDEL', key, 'i')
  for _, text in ipairs(visible(call('HVALS', members_key))) do count_user(cjson.decode(text).w[1], 1) end
end

-- Members have changed: the number of members, or of users, is to be published.
local function note_uncounted()
  call('HSET', key, 'u', 1)
  if due % 2 == 0 then due = due + 1 end
end

local function note_online()
  if room.socketio_count > 0 then
    call('HSET', key, 'w', 1)
    if due % 4 < 2 then due = due + 2 end
  else
    call('HDEL', key, 'w')
  end
end

-- The event that a user types, or types no more; `of`: the member, or its entry among the typing indicators.
local function typing(of, on)
  local shown = of.d and ',"d":' .. cjson.encode(of.d) or ''
  return '{"typing":{"w":' .. cjson.encode(of.w) .. shown .. ',"on":' .. on .. '}}'
end

-- Ends the typing indicator of a connection. Others receive that if the user has no other one.
local function stop_typing(connection, except)
  local typed = call('HGET', typing_key, connection)
  if not typed then return end
  call('HDEL', typing_key, connection)
  local stopped = cjson.decode(typed)
  for _, other in ipairs(call('HVALS', typing_key)) do
    if cjson.decode(other).w[1] == stopped.w[1] then return end
  end
  tell('*' .. except, typing(stopped, 0))
end

-- Whether a user has no member, for the nodes that announce users. Without Socket.IO members none does. Each member's text is
-- of the same encoder, so it is searched undecoded.
local function is_absent(user, socketio_count)
  if socketio_count == 0 then return true end
  local start = '"w":[' .. cjson.encode(user)
  for _, text in ipairs(visible(call('HVALS', members_key))) do
    if string.find(text, start .. ',', 1, true) or string.find(text, start .. ']', 1, true) then return false end
  end
  return true
end

-- Reports that a membership has ended, and whether it was the last one.
local function hook_departure(text, is_last)
  hook(HOOK_MEMBER_LEFT, ',"m":' .. text)
  if is_last then hook(HOOK_ROOM_VACATED, '') end
end

-- Ends a membership.
local function leave(seat, text)
  local was_announced = count_members() <= announce
  stop_typing(seat.c, seat.c)
  call('HDEL', members_key, seat.c)
  if seat.p ~= '' then call('HDEL', peers_key, seat.p) end
  if observes(seat) then
    count_peers(-seat.k)
    count_observers(-1)
    return
  end
  count_user(seat.w[1], -1)
  count_peers(-seat.k)
  note_media(seat.v, 0)
  if hooks > 0 then hook_departure(text, count_members() == 0) end
  if was_announced then
    tell('*' .. seat.c, (is_absent(seat.w[1], room.socketio_count) and '{"left":' or '{"leftone":') .. text .. '}')
    note_online()
  else
    note_uncounted()
  end
end

-- Moves a membership to the connection of `to`.
local function move(seat, to)
  call('HDEL', members_key, seat.c)
  if seat.p == '' then seat.p = seat.c end
  count_peers(to.k - seat.k)
  seat.c, seat.q, seat.k = to.c, to.q, to.k
  call('HSET', peers_key, seat.p, seat.c)
end

-- Whether a user is the host, has shown the host secret (`shown`: its hash), or is an admin.
local function is_host(user, admin, shown)
  return admin == '1' or user == room.host or (shown and shown ~= '' and shown == room.host_key)
end

-- Whether the room is locked for a user: not for the host, nor for those that have a member.
local function is_locked_for(user, admin)
  if not room.locked or is_host(user, admin) then return false end
  check_users()
  return call('HEXISTS', user_counts_key, user) == 0
end

-- Whether a user can join.
local function admits(user, admin)
  return not room.private or is_host(user, admin) or call('ZSCORE', participants_key, user)
end

-- Number of members, or of the users that the creator named, if they are more. The host alone is not named.
local function participant_count()
  local named = room.made and call('ZCARD', participants_key) or 0
  return math.max(count_members(), named > 1 and named or 0)
end

-- The event that announces the room's profile.
local function info(name)
  check_users()
  local users, locked = call('ZCARD', users_key), call('HGET', key, 'lk') == '1' and 1 or 0
  return '{"' .. name .. '":{"pf":' .. call('HGET', key, 'pf') .. ',"k":' .. participant_count() .. ',"o":' .. users ..
    ',"a":' .. now .. ',"lk":' .. locked .. '}}'
end

-- Announces the room's profile to its Socket.IO peers.
local function tell_info()
  if room.socketio_count > 0 then tell('*', info('info')) end
end

-- Ends the memberships of a user that are among `texts`; their connections are told `reason`. Whether there were any.
local function remove_members_of(user_id, texts, reason)
  local found, name = false, cjson.encode(user_id)
  for _, text in ipairs(texts) do
    -- Most members are of others: they are not decoded.
    local seat = string.find(text, name, 1, true) and cjson.decode(text)
    if seat and seat.w[1] == user_id then
      leave(seat, text)
      tell('@' .. seat.c, '{"out":"' .. reason .. '"}')
      found = true
    end
  end
  return found
end

-- The members, or some of them if there are many, and their number.
local function some_members()
  local count = call('HLEN', members_key)
  if count <= 2 * announce + 1 then return visible(call('HVALS', members_key)), count end
  local texts = {}
  for at, text in ipairs(call('HRANDFIELD', members_key, math.min(announce + 1, MEMBERS_SAMPLED), 'WITHVALUES')) do
    if at % 2 == 0 then texts[#texts + 1] = text end
  end
  return visible(texts), count
end

-- The connection mode in a view of the room, unless it is the default.
local function mode_field()
  return has_modes and call('HEXISTS', key, 'cm') == 1 and ',"cm":1' or ''
end

-- Pieces of the view of the room for a new member, or without other members for one that has joined before (`is_repeated`).
local function joined(seat, own, is_repeated)
  local texts = is_repeated and {} or some_members()
  for at, text in ipairs(texts) do
    if text == own then
      table.remove(texts, at)
      break
    end
  end
  return {'"p":' .. cjson.encode(seat.p) .. ',"c":' .. participant_count() .. ',"s":' .. room.seq .. mode_field() .. ',"l":[', texts, ']'}
end

-- Tells a Socket.IO member that has arrived of the connection mode, unless it is the default: its dialects have no place for it in
-- the answer to a join.
local function tell_mode_to(seat)
  local reason = has_modes and seat.k == 1 and call('HGET', key, 'cm')
  if reason then tell('@' .. seat.c, '{"mode":{"m":"sfu","p":"p2p","y":"' .. reason .. '"}}') end
end

-- Adds a member.
local function enter(seat)
  seat.o = call('HINCRBY', key, 'o', 1)
  if observes(seat) then
    if seat.p ~= '' then call('HSET', peers_key, seat.p, seat.c) end
    count_peers(seat.k)
    local text = write(seat)
    count_observers(1)
    each('PERSIST')
    return joined(seat, text)
  end
  local is_first = is_absent(seat.w[1], room.socketio_count + seat.k)
  local text = write(seat)
  if seat.p ~= '' then call('HSET', peers_key, seat.p, seat.c) end
  count_user(seat.w[1], 1)
  count_peers(seat.k)
  note_media(0, seat.v)
  local count = count_members()
  if count == 1 then
    each('PERSIST')
    hook(HOOK_ROOM_OCCUPIED, '')
  end
  hook(HOOK_MEMBER_JOINED, ',"m":' .. text)
  if count > announce then
    note_uncounted()
  else
    tell('*' .. seat.c, (is_first and '{"joined":' or '{"joinedtoo":') .. text .. '}')
    note_online()
  end
  return joined(seat, text)
end

-- The connection of `seat` takes over the membership of its user with the same name.
local function take_over(taken, seat)
  local own, own_text = seat_of(seat.c)
  if own and own.c ~= taken.c then
    local name = name_of(taken)
    leave(own, own_text)
    taken = named(name)
    if not taken then return enter(seat) end
  end
  local former = taken.c
  if former ~= seat.c then
    move(taken, seat)
    stop_typing(former, seat.c)
    tell('@' .. former, '{"out":"replaced"}')
  end
  local is_other = taken.v % 16 ~= seat.v
  seat.v = seat.v + taken.v - taken.v % 16
  note_media(taken.v, seat.v)
  taken.w, taken.d, taken.da, taken.v = seat.w, seat.d, seat.da, seat.v
  local text = write(taken)
  if is_other then tell('*' .. seat.c, '{"media":' .. text .. '}') end
  return joined(taken, text, former == seat.c)
end

-- Makes a connection a member. Returns its view of the room, or nil and the reason of a refusal.
local function join(seat, admin)
  if not admits(seat.w[1], admin) then return nil, 'private' end
  if is_locked_for(seat.w[1], admin) then return nil, 'locked' end
  if seat.p == 'sfu' then return nil, 'peer_id_taken' end
  local taken, taken_text = named(seat.p ~= '' and seat.p or seat.c)
  local max = room.made and room.capacity or takes
  local is_full = max ~= 0 and not observes(seat) and count_members() >= max
  if taken then
    if taken.w[1] ~= seat.w[1] then return nil, 'peer_id_taken' end
    if observes(taken) == observes(seat) then return take_over(taken, seat) end
    -- A member that only observes from now on leaves for the others, and one that does no more arrives.
    if is_full then return nil, 'room_full' end
    leave(taken, taken_text)
    if taken.c ~= seat.c then tell('@' .. taken.c, '{"out":"replaced"}') end
  end
  local own, own_text = seat_of(seat.c)
  if not own and not taken and is_full then return nil, 'room_full' end
  -- The place is free again, also in a room that has become smaller.
  if own then leave(own, own_text) end
  return enter(seat)
end

-- The text of a message in the log, with what has become of it. A piece of a stream whose message was edited or deleted is shown as gone.
local has_revised
local function shown(entry)
  if has_revised == nil then has_revised = call('EXISTS', revised_key) == 1 end
  local from = has_revised and string.find(entry[2][2], '"rv":{', 1, true)
  local stream = from and string.match(entry[2][2], '^"rv":{"i":"([%x-]+)","k":"[acx]"', from)
  if stream then
    local seq = call('HGET', ids_key, stream)
    local change = seq and call('HGET', revised_key, seq)
    if change and string.find(change, '^{"k":"[de]"') then return string.sub(entry[2][2], 1, -2) .. ',"ed":{"k":"d"}}' end
    return entry[2][2]
  end
  local revised = has_revised and call('HGET', revised_key, string.match(entry[1], '^%d+'))
  if revised and string.find(revised, '{"k":"s"', 1, true) then
    local text = call('HGET', streams_key, entry[2][4] .. ':t') or ''
    revised = '{"k":"s","at":0,"s":{"b":' .. cjson.encode('"' .. text .. '"') .. '}}'
  end
  return revised and string.sub(entry[2][2], 1, -2) .. ',"ed":' .. revised .. '}' or entry[2][2]
end

-- Whether a message is neither the change of another one nor deleted. The entry of a change is the only one of that name:
-- quotation marks within texts are escaped.
local function is_live(entry)
  if string.find(entry[2][2], '"rv":{', 1, true) then return false end
  local revised = call('HGET', revised_key, string.match(entry[1], '^%d+'))
  return not (revised and string.find(revised, '{"k":"d"', 1, true))
end

-- Whether a message is a piece of a stream.
local function is_piece(entry)
  local from = string.find(entry[2][2], '"rv":{', 1, true)
  return from and string.find(entry[2][2], '^"rv":{"i":"[%x-]+","k":"[acx]"', from)
end

-- Ends a stream: its message gets the whole text, unless it is not kept any more.
local function end_stream(message, seq, kind, inner)
  call('HDEL', streams_key, message, message .. ':t')
  if call('HEXISTS', revised_key, seq) == 0 then return end
  local content = '{"b":' .. cjson.encode('"' .. inner .. '"') .. '}'
  call('HSET', revised_key, seq, '{"k":"' .. kind .. '","at":' .. now .. ',"s":' .. content .. '}')
end

-- An open stream of the room is to end if it gets no pieces: a node is to look at that.
local function watch_streams()
  if call('EXISTS', streams_key) == 1 then streams_in = stream_ms end
end

-- Reads texts of a stream by XRANGE or XREVRANGE, at most `limit` and PAGE_BYTES, but at least one, in steps that hardly go
-- beyond that; without pieces of messages that grow if `is_whole`. Returns them, the id of the first, and whether there are more.
local function read_texts(stream, command, from, to, limit, is_whole)
  local texts, bytes, step, first = {}, 0, 1, nil
  while true do
    local entries = call(command, stream, from, to, 'COUNT', step)
    for _, entry in ipairs(entries) do
      if not (is_whole and is_piece(entry)) then
        local text = stream == log_key and shown(entry) or entry[2][2]
        bytes = bytes + #text
        if #texts >= limit or bytes > PAGE_BYTES and #texts > 0 then return texts, first, true end
        texts[#texts + 1] = text
        first = first or entry[1]
      end
    end
    if #entries < step then return texts, first, false end
    from = '(' .. entries[#entries][1]
    step = bytes == 0 and READ_STEP or math.max(1, math.min(READ_STEP, math.floor((PAGE_BYTES - bytes) * #texts / bytes), limit + 1 - #texts))
  end
end

-- Number of a message in the log.
local function seq_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- Whether a message in the log is too old. Its time ends its text.
local function is_old(entry)
  return room.keep_age > 0 and tonumber(string.match(string.sub(entry[2][2], -24), '"at":(%d+)}$')) + room.keep_age <= now
end

-- Removes messages before a number, and those that are too old, from the start of the log: as many as arrive between two
-- calls, and some more if they are small. Returns the first message of the log.
local function trim(before)
  local removed, bytes = 0, 0
  while true do
    local first = call('XRANGE', log_key, '-', '+', 'COUNT', 1)[1]
    if not first or seq_of(first) >= before and not is_old(first) then return first end
    if removed >= TRIM_EVERY and (removed >= TRIMMED_MAX or bytes > PAGE_BYTES) then return first end
    call('XDEL', log_key, first[1])
    call('HDEL', ids_key, first[2][4])
    if has_revised == nil then has_revised = call('EXISTS', revised_key) == 1 end
    if has_revised then call('HDEL', revised_key, seq_of(first)) end
    removed, bytes = removed + 1, bytes + #first[2][2]
  end
end

-- Number of the first message that is not too old; nil if there is none.
local function first_kept()
  local first = trim(0)
  if not first then return end
  if not is_old(first) then return seq_of(first) end
  local old, kept = seq_of(first), room.seq + 1
  while kept - old > 1 do
    local middle = math.floor((old + kept) / 2)
    local entry = call('XRANGE', log_key, string.format('%d-0', middle), '+', 'COUNT', 1)[1]
    if entry and is_old(entry) then old = seq_of(entry) else kept = middle end
  end
  return kept <= room.seq and kept or nil
end

-- A page of the log: after a number, or the newest messages. Returns the start of the answer, and the messages.
local function page(after, limit)
  local first = room.kept and room.seq > 0 and first_kept()
  if not first then return '"s":' .. room.seq .. ',"c":' .. (room.seq == 0 and 1 or 0) .. ',"l":[', {} end
  local texts, is_more, _
  if after then
    texts, _, is_more = read_texts(log_key, 'XRANGE', string.format('%d-0', math.min(math.max(after + 1, first), SEQ_MAX)), '+', limit)
  else
    texts, _, is_more = read_texts(log_key, 'XREVRANGE', '+', string.format('%d-0', first), limit, true)
    for at = 1, math.floor(#texts / 2) do texts[at], texts[#texts + 1 - at] = texts[#texts + 1 - at], texts[at] end
  end
  local is_complete = not is_more and first <= (after or 0) + 1
  return '"s":' .. room.seq .. ',"c":' .. (is_complete and 1 or 0) .. ',"l":[', texts
end

-- The room as an observer sees it, without its members.
local function view()
  local v = call('HMGET', key, 'hu', 'c', 'a', 'pf', 'lk')
  local participants = call('ZRANGE', participants_key, 0, -1)
  return '"h":' .. cjson.encode(v[1]) .. ',"c":' .. v[2] .. ',"a":' .. v[3] .. ',"pf":' .. (v[4] or 'null') .. ',"k":' ..
    participant_count() .. mode_field() .. ',"lk":' .. (v[5] == '1' and 1 or 0) .. ',"pa":' ..
    (#participants > 0 and cjson.encode(participants) or '[]')
end

-- Makes the room. A failover can have left a part of an earlier room of this name: it is removed. `by`: the creator.
local function make(epoch, host, user, guest, made, by)
  -- No takeover of an earlier room of this name has this number.
  local generation = string.format('%.0f', tonumber(string.sub(redis.sha1hex(epoch), 1, 6), 16))
  room = {epoch = epoch, seq = 0, number = 0, made = made, private = false, capacity = 0, history = '',
    keep_count = keep, keep_age = keep_ms, host = user, socketio_count = 0, observers = 0, generation = generation,
    kept = keeps == 1}
  each('DEL')
  call('HSET', key, 'e', epoch, 's', 0, 'n', 0, 'm', made and 1 or 0, 'v', 0, 'x', 0, 'y', '', 'km', '', 'ka', '', 'a',
    now, 'c', now, 'h', host, 'hu', user, 'hg', guest, 'o', 0, 'k', 0, 'z', server() .. ':' .. generation, 'b', epoch)
  hook(HOOK_ROOM_CREATED, ',"u":' .. cjson.encode(by))
end
