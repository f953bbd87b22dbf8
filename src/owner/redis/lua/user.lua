-- What the scripts of users share. Of a user there are
--   K       a hash: w who they are, p 1 while they are here or were a moment ago, b since when, s how they say they are if
--           not online, l when they were last active if that is not now, g since they are gone: the node that waits for
--           their return, and a number, r rooms of ended connections, o connections so far, n number of the last news,
--           t when they were seen
--   K:c     a sorted set: connections, as "node:id", in the order in which they came
--   K:i     a set: rooms whose members were told how they are, where only those who share a room are told
--   K:q     a sorted set: ids of the messages that wait for them, in order          K:d   a hash: these messages by id
--   K:r     a hash: registered names of connections, "l" and the connection, or "p", until when, and what was said
--   K:a     when the minute of their REST allowance is over, and what is spent of it
-- ARGV[4] is who learns how they are: "e" everybody, "r" those who share a room, "n" nobody. ARGV[5] is how long what
-- nobody asks for is kept, in milliseconds; 0: for ever.
local C, I, Q, D, R = K .. ':c', K .. ':i', K .. ':q', K .. ':d', K .. ':r'
local way, keep_ms = ARGV[4], tonumber(ARGV[5])
local prefix = string.match(K, '^(.-):user:{')
local node = string.match(origin, '^%d+')
local PARTED, PENDING = 1000, 60000
local user

local function read()
  local v = call('HMGET', K, 'w', 'p', 's', 'l', 'g', 'r', 'n', 't', 'b')
  user = {
    w = v[1], here = v[2], s = v[3] or 'online', l = v[4] and tonumber(v[4]), g = v[5], r = v[6], n = tonumber(v[7] or 0),
    t = v[8], b = v[9]
  }
end

-- Sets fields, or takes out those that are false.
local function put(fields)
  for field, value in pairs(fields) do
    if value then call('HSET', K, field, value) else call('HDEL', K, field) end
  end
end

local function last_seen()
  return user.l or now
end

local function encoded_name()
  return cjson.encode(cjson.decode(user.w)[1])
end

local function is_guest()
  return math.floor(cjson.decode(user.w)[4] / 4) % 2 == 1
end

-- The ids of their connections, oldest first, and the same by node as lists of JSON.
local function connections()
  local ids, nodes = {}, {}
  for at, member in ipairs(call('ZRANGE', C, 0, -1)) do
    local of, id = string.match(member, '^(%d+):(.*)$')
    ids[at] = id
    nodes[of] = (nodes[of] and nodes[of] .. ',' or '') .. '"' .. id .. '"'
  end
  return ids, nodes
end

-- Tells each node that has connections of theirs which ones are to have something; how many that are.
local function hand(body)
  local ids, nodes = connections()
  for of, list in pairs(nodes) do
    call('PUBLISH', prefix .. ':node:{' .. of .. '}', '{"u":' .. encoded_name() .. body .. ',"c":[' .. list .. ']}')
  end
  return #ids
end

-- How they are, as news of the next number. Numbers grow even when what is kept of the user was lost: by Redis's own clock,
-- for those of nodes may differ.
local function news()
  local time = call('TIME')
  user.n = math.max(user.n + 1, time[1] * 1000 + math.floor(time[2] / 1000))
  put({n = user.n})
  return ',"n":' .. user.n .. ',"s":"' .. user.s .. '","l":' .. last_seen()
end

-- Tells whoever is to know how they are, but for one connection.
local function tell(except)
  if way == 'n' then return end
  local body = news()
  if except and except ~= '' then body = body .. ',"x":"' .. except .. '"' end
  if way == 'e' then
    call('PUBLISH', prefix .. ':everyone', '{"u":' .. encoded_name() .. body .. '}')
    return
  end
  hand(body)
  if user.r then
    call('PUBLISH', prefix .. ':everyone', '{"u":' .. encoded_name() .. body .. ',"r":' .. user.r .. '}')
  end
end

-- They say how they are, and perhaps since when; whether that is news.
local function say(status, given)
  local is_news = user.s ~= status
  if given then given = math.min(given, now) end
  if not given and status == 'online' then
    user.l = false
  elseif given or is_news then
    user.l = given or now
  end
  user.s = status
  put({s = status ~= 'online' and status, l = user.l})
  return is_news
end

-- Somebody who was not here has come.
local function begin(who)
  call('HDEL', K, 's', 'l', 'g', 'r')
  call('HSET', K, 'w', who, 'p', 1)
  call('PERSIST', K)
  call('DEL', I)
  user.w, user.here, user.s, user.l, user.g, user.r = who, '1', 'online', false, false, false
end

-- Connections of this node are theirs; the first of all makes them online, which `except` is not told.
local function come(ids, except)
  local count = call('ZCARD', C)
  local is_first = count == 0 and not user.g
  if count == 0 then put({b = now}) end
  for _, id in ipairs(ids) do
    call('ZADD', C, 'NX', call('HINCRBY', K, 'o', 1), node .. ':' .. id)
  end
  if user.s == 'online' then user.l = false end
  user.g = false
  put({g = false, l = user.l})
  if is_first then
    put({t = last_seen()})
    tell(except)
  end
end

-- A connection has ended that was in these rooms.
local function part(rooms)
  if #rooms == 0 then return end
  local known = user.r and cjson.decode(user.r) or {}
  local has = {}
  for _, room in ipairs(known) do has[room] = true end
  for _, room in ipairs(rooms) do
    if #known < PARTED and not has[room] then
      known[#known + 1], has[room] = room, true
    end
  end
  user.r = cjson.encode(known)
  put({r = user.r})
end

-- Their last connection has ended, and they may come back: what this node is to say when they have not.
local function wait()
  user.l = last_seen()
  user.g = node .. ':' .. call('HINCRBY', K, 'o', 1)
  put({l = user.l, g = user.g})
  return '{"g":"' .. user.g .. '"}'
end

-- They are offline. Who seemed so before is no news. Nobody asks for a guest who has gone, but the news of one who is
-- back in a moment must have a later number.
local function go()
  put({t = last_seen()})
  if say('offline', last_seen()) then tell() end
  call('DEL', C, I)
  call('HDEL', K, 'p', 'b', 's', 'l', 'g', 'r')
  if is_guest() then
    call('HDEL', K, 'w', 't')
    call('PEXPIRE', K, 60000)
  elseif keep_ms > 0 then
    call('PEXPIRE', K, keep_ms)
  end
end

-- The messages that wait for them, the first of many; what is too old is there no longer.
local function waiting()
  local texts, bytes, is_more = {}, 0, false
  for _, id in ipairs(call('ZRANGE', Q, 0, 500)) do
    local text = call('HGET', D, id)
    if not text or keep_ms > 0 and cjson.decode(text).at + keep_ms <= now then
      call('ZREM', Q, id)
      call('HDEL', D, id)
    else
      bytes = bytes + #text
      is_more = #texts == 500 or bytes > 1048576 and #texts > 0
      if is_more then break end
      texts[#texts + 1] = text
    end
  end
  return '"d":[' .. table.concat(texts, ',') .. '],"m":' .. (is_more and 1 or 0)
end

-- The registered names, without those that have waited long enough; how many.
local function registered()
  local names, count = {}, 0
  local v = call('HGETALL', R)
  for at = 1, #v, 2 do
    local ends = string.match(v[at + 1], '^p(%d+)')
    if ends and tonumber(ends) <= now then
      call('HDEL', R, v[at])
    else
      names[v[at]] = v[at + 1]
      count = count + 1
    end
  end
  return names, count
end

-- Registers a name, or lets it go. Those that only wait for their connections are forgotten together.
local function register(names, name, value)
  names[name] = value
  if value then call('HSET', R, name, value) else call('HDEL', R, name) end
  for _, known in pairs(names) do
    if string.sub(known, 1, 1) == 'l' then
      call('PERSIST', R)
      return
    end
  end
  call('PEXPIRE', R, PENDING)
end

-- A connection has ended, as "node:id", and its name with it.
local function unname(member)
  if call('EXISTS', R) == 0 then return end
  local names = registered()
  for name, value in pairs(names) do
    if value == 'l' .. member then
      register(names, name, nil)
      return
    end
  end
end
