"""The words that sample data is made of."""

from __future__ import annotations

_FIRST_NAMES = """
Ada Alejandro Amara Amélie Anders Anika Arjun Astrid Ayumi Beatriz Björn Camila Carlos Chidi
Chloé Clara Daniel Dario Deepika Diego Elena Elif Emeka Emil Esther Farah Fatima Felix Fiona
Gabriel Giulia Grace Hana Hannah Haruto Helena Hugo Ines Ingrid Isaac Ivan Jamal Jana Jasmin
Jonas Julia Kaito Karim Katarina Kenji Kofi Lara Laila Leon Lina Linnea Lucas Luca Maja Malik
Marco Maria Marta Mateo Maya Mei Mia Mikael Mina Mohammed Nadia Naomi Nikolai Nina Noah Noor
Olga Oliver Omar Oscar Paula Pedro Petra Priya Rafael Rania Ravi Rosa Sakura Samuel Sara Selma
Sofia Stefan Tariq Theo Tomas Uma Valentina Viktor Wanjiru Yara Yusuf Zainab Zoë
"""

_LAST_NAMES = """
Abebe Adeyemi Ahmed Almeida Andersson Bakker Banerjee Bauer Becker Bianchi Chen Costa Cruz
Diallo Dubois Eriksen Fernández Fischer Garcia Greco Gupta Haddad Hansen Hernández Hoffmann
Ibrahim Ito Ivanova Jansen Johansson Kamau Kaur Keller Khan Kim Kobayashi Kowalski Kumar Larsen
Laurent Lee Lindqvist López Martin Mensah Meyer Morales Moreau Müller Nakamura Nguyen Nielsen
Novak Okafor Okonkwo Olsen Park Patel Pereira Petrov Popescu Ramírez Reyes Ricci Rossi Roux Sato
Schmidt Schneider Silva Singh Suzuki Tanaka Torres Tran Vargas Vasquez Virtanen Wagner Walker
Weber Wong Yamamoto Yilmaz Zhang Zimmermann
"""

_TOPICS = """
annual report, autumn sale, backup checklist, beginner course, board minutes, bread recipes,
budget template, bug bounty, camera review, career fair, charity run, chess opening, city guide,
climate data, coding workshop, coffee tasting, community survey, concert tickets, cycling
routes, data dictionary, design system, dinner menu, ebook download, emergency contacts, energy
report, expense form, family album, feature request, film festival, first aid, forest walk,
garden plan, guest list, harvest market, health insurance, hiking map, history lecture, holiday
schedule, house rules, incident review, interview notes, invoice archive, keynote video, kitchen
tour, language course, launch party, learning path, library hours, lunch rota, marathon
training, meeting room, migration plan, moving sale, museum night, music lessons, neighbourhood
watch, night bus, office map, onboarding kit, open house, packing list, parents evening, photo
contest, piano recital, podcast episode, price list, privacy notice, product tour, project
kickoff, quarterly goals, quiz night, reading list, release notes, remote work, research grant,
road closure, sailing club, school trip, science fair, security update, ski weekend, slide deck,
spring cleaning, status page, street food, summer camp, support forum, swimming times, team
offsite, theatre season, train timetable, travel policy, user interview, vaccination record,
vegan cookbook, volunteer shift, wedding photos, weekly digest, wine list, winter tyres,
workshop slides, yoga class, zero waste
"""

FIRST_NAMES = tuple(_FIRST_NAMES.split())
LAST_NAMES = tuple(_LAST_NAMES.split())
TOPICS = tuple(" ".join(_TOPICS.split()).split(", "))

MAIL_HOSTS = ("example.com", "example.net", "example.org", "mail.example.com", "post.example.org")

SITES = {
    "docs.example.com": ("guides", "reference", "tutorials", "changelog"),
    "blog.example.org": ("2024", "2025", "engineering", "people"),
    "shop.example.net": ("products", "offers", "gift-cards", "orders"),
    "events.example.com": ("meetups", "conferences", "webinars", "tickets"),
    "www.example.edu": ("courses", "library", "research", "admissions"),
    "code.example.io": ("projects", "issues", "releases", "wiki"),
    "video.example.com": ("watch", "channels", "playlists", "live"),
    "news.example.org": ("world", "science", "culture", "sport"),
    "jobs.example.net": ("openings", "teams", "locations", "apply"),
    "maps.example.com": ("places", "routes", "cities", "trails"),
}

CAMPAIGNS = ("newsletter", "poster", "flyer", "social", "partner", "podcast")
